import numpy as np
import pytest
import torch

from histoweak.objectives.regression import ABSENT, TOP, UNKNOWN, peak_target, refinement_loss


def test_targets_keep_the_strongest_allowed_class_of_each_pixel() -> None:
    rng = np.random.default_rng(0)
    scores = rng.random((3, 5, 6)).astype(np.float32)
    allowed = rng.random((3, 5, 6)) < 0.6
    target = peak_target(scores, allowed)
    for y, x in np.ndindex(5, 6):
        present = [k for k in range(3) if allowed[k, y, x]]
        if not present:
            assert (target[:, y, x] == UNKNOWN).all()
            continue
        best = max(present, key=lambda k: scores[k, y, x])
        for k in range(3):
            value = round(float(scores[k, y, x]) * TOP) if k == best else 0
            assert target[k, y, x] == (value if k in present else ABSENT)


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_the_loss_is_a_weighted_mean_over_what_is_known(weight) -> None:
    maps = torch.randn(2, 3, 4, 4, dtype=torch.double, requires_grad=True)
    codes = torch.tensor([0, 100, TOP, ABSENT, UNKNOWN], dtype=torch.uint8)
    target = codes[torch.randint(0, 5, (2, 3, 4, 4), generator=torch.Generator().manual_seed(0))]
    loss = refinement_loss(maps, target, weight).detach()
    errors = weights = 0.0
    for value, code in zip(maps.flatten().tolist(), target.flatten().tolist(), strict=True):
        own = {ABSENT: weight, UNKNOWN: 0.0}.get(code, 1.0)
        wanted = code / TOP if code <= TOP else 0.0
        errors, weights = errors + own * (value - wanted) ** 2, weights + own
    assert float(loss) == pytest.approx(errors / weights)


def test_with_all_classes_alike_it_is_the_plain_mean_squared_error() -> None:
    """Source: targets are the maps themselves, 0 for absent classes, averaged over everything."""
    scores = torch.rand(1, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    present = torch.tensor([True, True, False]).view(3, 1, 1).expand(3, 5, 5)
    target = peak_target(scores[0].numpy(), present.numpy())
    masked = scores * present
    kept = torch.where(masked == masked.amax(1, keepdim=True), masked, 0)
    maps = torch.randn(1, 3, 5, 5)
    expected = torch.nn.functional.mse_loss(maps, kept)
    own = refinement_loss(maps, torch.from_numpy(target)[None], 1.0)
    assert float(own) == pytest.approx(float(expected), abs=0.01)  # scores have steps of 1 / 253


def test_nothing_known_is_no_loss() -> None:
    maps = torch.randn(1, 2, 3, 3, requires_grad=True)
    loss = refinement_loss(maps, torch.full((1, 2, 3, 3), UNKNOWN, dtype=torch.uint8))
    loss.backward()
    assert float(loss) == 0 and maps.grad is not None and not maps.grad.any()
