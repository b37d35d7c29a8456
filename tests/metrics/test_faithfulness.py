import numpy as np
import pytest
import torch

from histoweak.metrics.faithfulness import (
    area_under,
    deletion_curve,
    evidence_drop,
    insertion_curve,
)


def brightness(images: torch.Tensor) -> torch.Tensor:
    """Probabilities: class 0 is the mean darkness, class 1 that of the left column alone."""
    dark = 1 - images.mean(1)
    return torch.stack([dark.mean((1, 2)), dark[:, :, 0].mean(1)], 1)


BLACK = torch.zeros(3, 2, 2)
EVIDENCE = torch.tensor([[0.9, 0.1], [0.8, 0.2]])


def test_hand_counted() -> None:
    whole = deletion_curve(brightness, BLACK, EVIDENCE, 0, steps=4)
    assert whole.tolist() == [1, 0.75, 0.5, 0.25, 0]
    assert area_under(whole) == 0.5
    left = deletion_curve(brightness, BLACK, EVIDENCE, 1, steps=4)
    assert left.tolist() == [1, 0.5, 0, 0, 0]
    assert area_under(left) == (0.5 + 0.5) / 4
    back = insertion_curve(brightness, BLACK, EVIDENCE, 1, steps=4, baseline=torch.ones(3, 1, 1))
    assert back.tolist() == [0, 0.5, 1, 1, 1]
    assert evidence_drop(brightness, BLACK, EVIDENCE, 1, share=0.25) == 0.5
    assert evidence_drop(brightness, BLACK, EVIDENCE, 1, share=0) == 0


def test_agrees_with_a_loop_and_with_any_batch_size() -> None:
    rng = torch.Generator().manual_seed(0)
    image, evidence = torch.rand(3, 5, 7, generator=rng), torch.rand(5, 7, generator=rng)
    weights = torch.rand(2, 3, 5, 7, generator=rng)

    def classify(images: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(torch.einsum("bchw,kchw->bk", images - 0.5, weights))

    expected = []
    order = np.argsort(-evidence.numpy(), axis=None, kind="stable")
    for step in range(11):
        changed = image.clone().reshape(3, -1)
        changed[:, order[: int(np.ceil(step * 35 / 10))]] = 1.0
        expected.append(float(classify(changed.reshape(1, 3, 5, 7))[0, 1]))
    for batch_size in (1, 4, 100):
        curve = deletion_curve(classify, image, evidence, 1, steps=10, batch_size=batch_size)
        np.testing.assert_allclose(curve, expected, rtol=1e-5)
    assert area_under(curve) == pytest.approx(np.trapezoid(expected, dx=0.1), abs=1e-6)


def test_insertion_starts_blurred_and_ends_with_the_image() -> None:
    image = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(1))
    seen = []

    def classify(images: torch.Tensor) -> torch.Tensor:
        seen.append(images)
        return images.mean((2, 3))

    insertion_curve(classify, image, image[0], 0, steps=3)
    first, last = seen[0][0], seen[-1][-1]
    assert first.std() < image.std() / 3
    torch.testing.assert_close(last, image)


def test_true_evidence_beats_its_reverse() -> None:
    good = deletion_curve(brightness, BLACK, EVIDENCE, 1)
    poor = deletion_curve(brightness, BLACK, -EVIDENCE, 1)
    assert area_under(good) < area_under(poor)


def test_refuses_bad_input() -> None:
    with pytest.raises(ValueError, match="evidence"):
        deletion_curve(brightness, BLACK, torch.zeros(3, 3), 0)
    with pytest.raises(ValueError, match="steps"):
        insertion_curve(brightness, BLACK, EVIDENCE, 0, steps=0, baseline=BLACK)
    with pytest.raises(ValueError, match="share"):
        evidence_drop(brightness, BLACK, EVIDENCE, 0, share=1.2)
