"""Losses of the segmenter."""

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
