"""Class maps scaled to what their classifier believes: HistoSegNet's activations.

Source: Chan et al., "HistoSegNet" (ICCV 2019), section 3.2: Grad-CAM, cut at zero, divided by its
maximum and multiplied with the class's probability; classes below their threshold are 0. Their
later code (Chan et al., IJCV 2021) divides by the maximum over all classes instead.
"""

from typing import Literal

import torch
from torch import Tensor

Peak = Literal["class", "image"]


def gated_activations(
    maps: Tensor, probs: Tensor, passes: Tensor, *, peak: Peak = "image", floor: float = 0.0
) -> Tensor:
    """Scale maps to activations in [0, p], p the class's probability.

    Args:
        maps: (B, K, h, w), unbounded.
        probs: (B, K) in [0, 1].
        passes: (B, K) bool; the other classes are 0 everywhere.
        peak: what a map is divided by: its own maximum (`class`: every class that passes reaches
            its probability somewhere, however weak its evidence) or the largest maximum of the
            classes that pass (`image`).
        floor: least activation of a class that passes, in units of its probability, so that
            pixels without any evidence go to the likeliest class.

    Returns:
        (B, K, h, w).
    """
    positive = maps.clamp(min=0) * passes[:, :, None, None]
    highest = positive.amax(dim=(2, 3), keepdim=True)
    if peak == "image":
        highest = highest.amax(dim=1, keepdim=True)
    scaled = (positive / highest.clamp(min=1e-7)).clamp(min=floor)
    return scaled * (probs * passes)[:, :, None, None]


def passing(probs: Tensor, thresholds: Tensor, forced: Tensor, *, at_least_one: bool) -> Tensor:
    """Classes that a patch is taken to hold, (B, K) bool.

    Args:
        probs: (B, K) in [0, 1].
        thresholds: (K,) probabilities from which on a class passes.
        forced: (K,) bool, classes that always pass.
        at_least_one: where no class passes, let those pass that come nearest to their threshold.
    """
    found = (probs >= thresholds) | forced
    if at_least_one:
        share = probs / thresholds
        found |= ~found.any(dim=1, keepdim=True) & (share == share.amax(dim=1, keepdim=True))
    return torch.as_tensor(found)
