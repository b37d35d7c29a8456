import numpy as np
import pytest
import segmentation_models_pytorch as smp
import torch

from histoweak.objectives.dice import soft_dice_loss


def batch(seed: int = 0, ignored: bool = True) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of four classes, masks of three of them."""
    generator = torch.Generator().manual_seed(seed)
    masks = torch.randint(0, 4, (3, 5, 6), generator=generator)
    masks[masks == 3] = 255 if ignored else 0
    return torch.randn(3, 4, 5, 6, generator=generator) * 2, masks.to(torch.uint8)


def by_loop(logits: torch.Tensor, masks: torch.Tensor) -> list[float | None]:
    """1 - Dice of each class, None where no pixel carries it."""
    probs, truth = logits.double().softmax(1).numpy(), masks.numpy()
    found: list[float | None] = []
    for k in range(probs.shape[1]):
        common = total = area = 0.0
        for b, y, x in np.ndindex(truth.shape):
            if truth[b, y, x] == 255:
                continue
            is_class = float(truth[b, y, x] == k)
            common += probs[b, k, y, x] * is_class
            total += probs[b, k, y, x] + is_class
            area += is_class
        found.append(1 - 2 * common / total if area else None)
    return found


def test_absent_classes_add_zero_but_divide_as_published() -> None:
    logits, masks = batch()
    each = by_loop(logits, masks)
    assert each[3] is None
    expected = sum(v for v in each if v is not None) / 4
    assert float(soft_dice_loss(logits, masks, absent="zero")) == pytest.approx(expected, rel=1e-5)


def test_absent_classes_take_no_part_by_default() -> None:
    logits, masks = batch()
    expected = np.mean([v for v in by_loop(logits, masks) if v is not None])
    assert float(soft_dice_loss(logits, masks)) == pytest.approx(expected, rel=1e-5)


def test_the_published_form_is_that_of_the_library() -> None:
    logits, masks = batch()
    logits.requires_grad_()
    library = smp.losses.DiceLoss("multiclass", ignore_index=255, eps=1e-7)
    expected, found = library(logits, masks.long()), soft_dice_loss(logits, masks, absent="zero")
    torch.testing.assert_close(found, expected)
    gradients = (torch.autograd.grad(v, logits)[0] for v in (found, expected))
    torch.testing.assert_close(next(gradients), next(gradients))


def test_a_perfect_prediction_costs_nothing_and_a_wrong_one_all() -> None:
    _, masks = batch(ignored=False)
    right = torch.nn.functional.one_hot(masks.long(), 4).permute(0, 3, 1, 2) * 100.0
    assert float(soft_dice_loss(right, masks)) == pytest.approx(0, abs=1e-6)
    wrong = right.roll(1, dims=1)
    assert float(soft_dice_loss(wrong, masks)) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("absent", ["zero", "skip"])
def test_a_batch_of_ignored_pixels_has_loss_zero_and_gradient_zero(absent) -> None:
    logits, masks = batch()
    logits.requires_grad_()
    loss = soft_dice_loss(logits, torch.full_like(masks, 255), absent=absent)
    loss.backward()
    assert float(loss.detach()) == 0 and logits.grad is not None and (logits.grad == 0).all()
