"""Losses of the segmenter."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from histoweak.classes import IGNORE_INDEX


def pixel_loss(logits: Tensor, masks: Tensor, bootstrap: float = 0.0) -> Tensor:
    """Cross entropy over the pixels that carry a class.

    With `bootstrap` b > 0 the target is (1 - b) of the mask and b of the network's own
    prediction: Reed et al. (2015), "Training deep neural networks on noisy labels with
    bootstrapping", equation 6 (soft), which tolerates wrong pseudo-masks.

    Args:
        logits: (B, K, H, W).
        masks: (B, H, W) uint8 class index, 255 = ignore.
        bootstrap: b in [0, 1).

    Returns:
        Mean over pixels that are not ignored; zero, with gradient, where all are.
    """
    known = masks != IGNORE_INDEX
    logs = F.log_softmax(logits, dim=1)
    target = masks.long().masked_fill(~known, 0)
    loss = -logs.gather(1, target[:, None])[:, 0]
    if bootstrap > 0:
        own = -(logs.exp().detach() * logs).sum(dim=1)
        loss = (1 - bootstrap) * loss + bootstrap * own
    return (loss * known).sum() / known.sum().clamp(min=1)


def layered_loss(
    logits: Tensor, masks: Tensor, weights: Sequence[float], bootstrap: float = 0.0
) -> Tensor:
    """Weighted sum of the `pixel_loss` of several masks of the same images.

    Han et al. (Medical Image Analysis 2022): 0.6 for the mask of the deepest layer, 0.2 for each
    of two shallower ones.

    Args:
        logits: (B, K, H, W).
        masks: (B, M, H, W) uint8 class index, 255 = ignore.
        weights: of the M masks.
        bootstrap: as in `pixel_loss`.
    """
    layers = zip(weights, masks.unbind(1), strict=True)
    return torch.stack([w * pixel_loss(logits, mask, bootstrap) for w, mask in layers]).sum()


WHITE_LOGIT = 100.0


def fifth_logit_loss(logits: Tensor, masks: Tensor, weights: Sequence[float], batch: int) -> Tensor:
    """The same as the released code of Han et al. has it, with one logit more than classes.

    That logit is 100 where the last mask is white, which makes the loss there nearly 0, and 0
    elsewhere, which adds a class to the softmax. Each mean over pixels is divided by the size of
    the batch once more.

    Args:
        logits: (B, K, H, W).
        masks: (B, M, H, W) uint8 class index, 255 = white; the last is that of the deepest layer.
        weights: of the M masks.
        batch: images of the step in all processes, of which the logits are a part: gradients are
            averaged over processes, so that the size of the part would let them grow.
    """
    white = masks == IGNORE_INDEX
    extended = torch.cat([logits, white[:, -1:].to(logits) * WHITE_LOGIT], dim=1)
    logs = F.log_softmax(extended, dim=1)
    target = masks.long().masked_fill(white, logits.shape[1])
    means = -logs.gather(1, target).mean(dim=(0, 2, 3))
    return (means * means.new_tensor(weights)).sum() / batch
