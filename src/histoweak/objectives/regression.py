"""What the refinement network learns: each pixel keeps the score of its strongest class alone.

Kim, Han & Kim, "Discriminative Region Suppression for Weakly-Supervised Semantic Segmentation"
(AAAI 2021, arXiv 2103.07246), section 3.2.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

TOP = 253
"""Code of a score of 1.0 in a target."""

ABSENT = 254
"""Code of a class that the labels exclude at the pixel: its target is 0."""

UNKNOWN = 255
"""Code of a pixel that no patch speaks for."""


def peak_target(
    scores: npt.NDArray[np.float32], allowed: npt.NDArray[np.bool_]
) -> npt.NDArray[np.uint8]:
    """Targets in one byte each.

    Args:
        scores: (K, H, W) in [0, 1].
        allowed: (K, H, W) bool, the classes that the labels allow; none where no patch speaks.

    Returns:
        (K, H, W) uint8: up to `TOP` for the strongest allowed class (the first of equals) and 0
        for other allowed ones, `ABSENT`, or `UNKNOWN`.
    """
    possible = np.where(allowed, scores, -1)
    strongest = np.arange(len(scores))[:, None, None] == possible.argmax(axis=0)
    codes = np.where(strongest, np.round(possible.clip(0, 1) * TOP), 0)
    codes = np.where(allowed, codes, ABSENT)
    return np.where(allowed.any(axis=0), codes, UNKNOWN).astype(np.uint8)


def refinement_loss(maps: Tensor, target: Tensor, absent_weight: float = 1.0) -> Tensor:
    """Mean squared error to targets; the source averages over all classes, present or absent.

    Args:
        maps: (B, K, H, W), unbounded.
        target: (B, K, H, W) uint8, from `peak_target`.
        absent_weight: weight of classes that the labels exclude, relative to the others.

    Returns:
        A scalar; zero, with gradient, where nothing is known.
    """
    known = target <= TOP
    weights = known.to(maps) + absent_weight * (target == ABSENT).to(maps)
    wanted = torch.where(known, target.to(maps) / TOP, 0)
    return (weights * (maps - wanted) ** 2).sum() / weights.sum().clamp(min=1e-6)
