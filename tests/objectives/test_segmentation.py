import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from histoweak.objectives.segmentation import fifth_logit_loss, layered_loss, pixel_loss


def batch(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    masks = torch.randint(0, 4, (2, 5, 6), generator=generator)
    masks[masks == 3] = 255
    return torch.randn(2, 3, 5, 6, generator=generator) * 3, masks.to(torch.uint8)


def test_without_bootstrap_it_is_torchs_cross_entropy() -> None:
    logits, masks = batch()
    logits.requires_grad_()
    found = pixel_loss(logits, masks)
    (gradient,) = torch.autograd.grad(found, logits)
    expected = F.cross_entropy(logits, masks.long(), ignore_index=255)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(gradient, torch.autograd.grad(expected, logits)[0])


@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_bootstrap_mixes_the_mask_with_the_networks_word(share) -> None:
    """Reed et al. (2015), equation 6: - sum_k ((1 - b) t_k + b q_k) log q_k."""
    logits, masks = batch()
    terms = []
    for b, y, x in np.ndindex(2, 5, 6):
        if masks[b, y, x] == 255:
            continue
        exp = [math.exp(float(v)) for v in logits[b, :, y, x]]
        q = [v / sum(exp) for v in exp]
        t = [float(k == masks[b, y, x]) for k in range(3)]
        target = [(1 - share) * t[k] + share * q[k] for k in range(3)]
        terms.append(-sum(target[k] * math.log(q[k]) for k in range(3)))
    assert float(pixel_loss(logits, masks, share)) == pytest.approx(np.mean(terms), rel=1e-5)


def test_the_networks_word_is_a_target_and_gets_no_gradient() -> None:
    logits, masks = batch()
    logits.requires_grad_()
    (gradient,) = torch.autograd.grad(pixel_loss(logits, masks, 0.4), logits)
    known = (masks != 255)[:, None]
    one_hot = F.one_hot(masks.long().clamp(max=2), 3).permute(0, 3, 1, 2)
    q = logits.detach().softmax(1)
    target = 0.6 * one_hot + 0.4 * q
    expected = (q - target) * known / known.sum()  # of a cross entropy with fixed target
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_a_batch_of_ignored_pixels_has_loss_zero_and_gradient_zero(share) -> None:
    logits, masks = batch()
    logits.requires_grad_()
    loss = pixel_loss(logits, torch.full_like(masks, 255), share)
    loss.backward()
    assert float(loss.detach()) == 0 and logits.grad is not None and (logits.grad == 0).all()


def several(seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and the masks of three layers that share their white."""
    generator = torch.Generator().manual_seed(seed)
    masks = torch.randint(0, 3, (2, 3, 5, 6), generator=generator).to(torch.uint8)
    masks[:, :, 0] = 255
    return torch.randn(2, 3, 5, 6, generator=generator) * 3, masks


def test_layers_are_weighed_against_each_other() -> None:
    """Han et al.: 0.6, 0.2 and 0.2 times the cross entropy that ignores white."""
    logits, masks = several()
    masks[1, 0, 3] = 255  # a layer may ignore what others do not
    parts = [F.cross_entropy(logits, masks[:, m].long(), ignore_index=255) for m in range(3)]
    expected = 0.2 * parts[0] + 0.2 * parts[1] + 0.6 * parts[2]
    torch.testing.assert_close(layered_loss(logits, masks, (0.2, 0.2, 0.6)), expected)
    torch.testing.assert_close(layered_loss(logits, masks[:, 2:], (1.0,)), parts[2])
    torch.testing.assert_close(
        layered_loss(logits, masks[:, :1], (0.5,), 0.3), 0.5 * pixel_loss(logits, masks[:, 0], 0.3)
    )


def test_the_released_loss_has_a_logit_more_and_divides_by_the_batch_again() -> None:
    logits, masks = several()
    fifth = torch.where(masks[:, 2] == 255, 100.0, 0.0)[:, None]
    extended = torch.cat([logits, fifth], dim=1)
    target = masks.long().masked_fill(masks == 255, 3)
    parts = [F.cross_entropy(extended, target[:, m]) / 2 for m in range(3)]
    expected = 0.2 * parts[0] + 0.2 * parts[1] + 0.6 * parts[2]
    found = fifth_logit_loss(logits, masks, (0.2, 0.2, 0.6), batch=2)
    torch.testing.assert_close(found, expected)
    assert found < layered_loss(logits, masks, (0.2, 0.2, 0.6))


def test_the_released_loss_is_the_mean_of_what_each_process_has() -> None:
    logits, masks = several()
    weights = (0.2, 0.2, 0.6)
    halves = [fifth_logit_loss(logits[i : i + 1], masks[i : i + 1], weights, 2) for i in (0, 1)]
    torch.testing.assert_close(sum(halves) / 2, fifth_logit_loss(logits, masks, weights, 2))


def test_in_the_released_loss_white_costs_nothing_and_tissue_a_little_more() -> None:
    logits = torch.tensor([2.0, 0.0]).view(1, 2, 1, 1)
    white = torch.full((1, 1, 1, 1), 255, dtype=torch.uint8)
    assert float(fifth_logit_loss(logits, white, (1.0,), 1)) < 1e-6
    tissue = torch.zeros_like(white)
    plain = float(pixel_loss(logits, tissue[:, 0]))
    assert float(fifth_logit_loss(logits, tissue, (1.0,), 1)) == pytest.approx(
        -math.log(math.exp(2) / (math.exp(2) + 2)), rel=1e-5
    )
    assert plain == pytest.approx(0.127, abs=1e-3)


def test_masks_that_differ_in_white_would_cost_a_hundred() -> None:
    """Why one white map serves all layers of an image."""
    masks = torch.tensor([0, 255], dtype=torch.uint8).view(1, 2, 1, 1)
    assert float(fifth_logit_loss(torch.zeros(1, 2, 1, 1), masks, (1.0, 0.0), 1)) > 90
