import numpy as np
import pytest
import torch
import torch.nn.functional as F

from histoweak.objectives.consistency import consistency_loss


def maps(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 3, 16, 24, generator=generator)
    return logits.requires_grad_(), torch.randn(2, 3, 4, 6, generator=generator).requires_grad_()


def test_it_is_that_of_a_loop() -> None:
    logits, cam = (m.detach() for m in maps())
    # Reduced by four, bilinear interpolation without smoothing is the mean of four pixels.
    total = 0.0
    for b, y, x in np.ndindex(2, 4, 6):
        rows, columns = slice(4 * y + 1, 4 * y + 3), slice(4 * x + 1, 4 * x + 3)
        small = np.exp(logits[b, :, rows, columns].mean((1, 2)).double().numpy())
        other = np.exp(cam[b, :, y, x].double().numpy())
        total += np.abs(small / small.sum() - other / other.sum()).sum()
    assert float(consistency_loss(logits, cam)) == pytest.approx(total / cam.numel(), rel=1e-5)


def test_zero_when_logits_are_constant_in_space_and_equal_to_the_cam() -> None:
    values = torch.randn(2, 3, 1, 1)
    assert float(consistency_loss(values.expand(2, 3, 16, 24), values.expand(2, 3, 4, 6))) == 0


def test_no_side_is_spared_unless_asked_for() -> None:
    for stop, sides in (("none", (True, True)), ("cam", (True, False)), ("decoder", (False, True))):
        logits, cam = maps()
        consistency_loss(logits, cam, stop=stop).backward()
        moved = tuple(m.grad is not None and bool((m.grad != 0).any()) for m in (logits, cam))
        assert moved == sides, stop


def test_forbidden_classes_neither_count_nor_learn() -> None:
    logits, cam = maps()
    allowed = torch.ones(2, 3, 4, 6, dtype=torch.bool)
    allowed[:, 2] = False
    found = consistency_loss(logits, cam, allowed=allowed)
    small = F.interpolate(logits[:, :2], (4, 6), mode="bilinear", align_corners=False)
    expected = (small.softmax(1) - cam[:, :2].softmax(1)).abs().sum() / cam.numel()
    torch.testing.assert_close(found, expected)
    found.backward()
    for m in (logits, cam):
        assert m.grad is not None and m.grad.isfinite().all() and (m.grad[:, 2] == 0).all()


def test_where_nothing_is_allowed_labels_say_nothing() -> None:
    logits, cam = maps()
    nothing = torch.zeros(2, 3, 4, 6, dtype=torch.bool)
    torch.testing.assert_close(
        consistency_loss(logits, cam, allowed=nothing), consistency_loss(logits, cam)
    )
