"""Progressive dropout attention: training looks away from what it already sees best.

Han et al., "Multi-layer pseudo-supervision for histopathology tissue semantic segmentation using
patch-level classification labels" (Medical Image Analysis 80, 2022, 102487), the part on
progressive dropout attention. With the class maps `M_k = relu(sum_c w_kc m_c)` of a linear head,

    beta_k = mu * max_ij M_k        M^_k = M_k where M_k <= beta_k, else 0
    A = (1 / K) sum_k M^_k          m~ = A * m

and `mu` falls from epoch to epoch, so that the strongest pixels are dropped more and more.
"""

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from histoweak.config import StrictConfig


class DropoutAttentionConfig(StrictConfig):
    """Schedule of progressive dropout attention.

    Each epoch multiplies `mu` by `sigma`. Form `paper`: attention is on from the first step, `mu`
    is 1 for `start` epochs, then falls, never below `floor`. Form `code`: attention is off for
    `start` epochs while `mu` falls already, and `mu` stays from the first value at or below
    `floor`. `epoch` is the length of an epoch in steps; null takes a twentieth of the training,
    for the publication trains for 20 epochs.
    """

    form: Literal["paper", "code"] = "paper"
    sigma: float = Field(0.985, gt=0, lt=1)
    floor: float = Field(0.65, gt=0, le=1)
    start: int = Field(3, ge=0)
    epoch: int | None = Field(None, ge=1)


EPOCHS = 20
"""Epochs of the published training."""


def threshold_share(config: DropoutAttentionConfig, step: int, steps: int) -> float | None:
    """Return mu at a training step, None while attention is off.

    Args:
        config: the schedule.
        step: 0-based.
        steps: of the whole training.
    """
    epoch = step // (config.epoch or max(1, steps // EPOCHS))
    if config.form == "paper":
        return max(config.floor, config.sigma ** max(0, epoch - config.start + 1))
    if epoch < config.start:
        return None
    reached = math.ceil(math.log(config.floor) / math.log(config.sigma) - 1e-9)
    mu: float = config.sigma ** min(epoch, reached)
    return mu


def dropout_attention(maps: Tensor, mu: float, normalise: bool = False) -> Tensor:
    """Return the attention A of one pass.

    Args:
        maps: (B, K, h, w) class maps of the linear head, before any ReLU. Gradients pass.
        mu: share of each map's maximum above which a pixel is dropped; 1 drops nothing.
        normalise: divide by the mean over the map, so that features keep their size; attention is
            1 where no class has any evidence. As published it is neither bounded nor scaled.

    Returns:
        (B, 1, h, w), not negative.
    """
    positive = maps.relu()
    limit = mu * positive.amax(dim=(2, 3), keepdim=True)
    kept = torch.where(positive <= limit, positive, 0)
    attention = kept.mean(dim=1, keepdim=True)
    if not normalise:
        return attention
    mean = attention.mean(dim=(2, 3), keepdim=True)
    return torch.where(mean > 0, attention / mean.clamp(min=1e-12), 1.0)
