"""Labels that follow from masks, and patches that are nearly of one class."""

import torch
from torch import Tensor

from histoweak.synthesis.squares import NONE


def classes_in(masks: Tensor, n_classes: int) -> Tensor:
    """Classes that masks hold.

    Args:
        masks: (B, H, W) uint8, 255 = ignore.
        n_classes: K.

    Returns:
        (B, K) float, 1 where a class has at least one pixel.
    """
    present = [(masks == k).flatten(1).any(dim=1) for k in range(n_classes)]
    return torch.stack(present, dim=1).float()


def near_single(probs: Tensor, labels: Tensor, *, sure: float = 0.9, rest: float = 0.1) -> Tensor:
    """Find patches that nearly consist of one class, where patches of it alone are too few.

    A label with exactly one 1 stands. Among several, the classifier must give one class at least
    `sure` and each other one at most `rest`; only classes that the label names can win.

    Args:
        probs: (N, K) class probabilities of a classifier, or shares of area.
        labels: (N, K) in {0, 1}.
        sure: least probability of the class.
        rest: highest probability of any other class.

    Returns:
        (N,) int64 class of each patch, -1 where it has none; `PatchCache.of_frames` takes it as
        `assigned`.
    """
    present = labels > 0
    allowed = torch.where(present, probs, -1.0)
    top = allowed.argmax(dim=1, keepdim=True)
    others = probs.scatter(1, top, -1.0).amax(dim=1)
    found = (allowed.gather(1, top)[:, 0] >= sure) & (others <= rest)
    found |= present.sum(dim=1) == 1
    return torch.where(found, top[:, 0], NONE)
