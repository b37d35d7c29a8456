import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from histoweak.objectives.segmentation import pixel_loss


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
