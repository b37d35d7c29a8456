"""Soft Dice over a batch, for several classes."""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from histoweak.classes import IGNORE_INDEX

Absent = Literal["zero", "skip"]


def soft_dice_loss(logits: Tensor, masks: Tensor, *, absent: Absent = "skip") -> Tensor:
    """Mean over classes of one minus the soft Dice score of the whole batch.

    Milletari et al. (3DV 2016), section 3, without squares and for K classes: sums run over the
    batch and its pixels, once per class, so that a class weighs the same whether it fills a corner
    or half of the batch.

    Args:
        logits: (B, K, H, W).
        masks: (B, H, W) uint8 class index, 255 = ignore.
        absent: what classes that no pixel of the batch carries do. `skip`: take no part. `zero`:
            add nothing but still divide, as in the released code of HisynSeg, where a batch
            without lymphocytes has a smaller loss and smaller gradients for the other classes.

    Returns:
        A scalar in [0, 1]; zero, with gradient, where all pixels are ignored.
    """
    counted = (masks != IGNORE_INDEX).to(logits.dtype)
    classes = logits.shape[1]
    target = F.one_hot(masks.long().clamp(max=classes - 1), classes).permute(0, 3, 1, 2)
    probs = logits.softmax(dim=1) * counted[:, None]
    true = target * counted[:, None]
    common = (probs * target).sum(dim=(0, 2, 3))
    area = true.sum(dim=(0, 2, 3))
    dice = 2 * common / (probs.sum(dim=(0, 2, 3)) + area).clamp(min=1e-7)
    present = (area > 0).to(logits.dtype)
    divisor = present.sum().clamp(min=1) if absent == "skip" else float(classes)
    return ((1 - dice) * present).sum() / divisor
