"""Losses on where the evidence of a patch lies, from its label alone.

A label says more than that some pixel somewhere belongs to a class. An *absent* class is absent
at every pixel; a *present* class holds at least the share of the patch that made it count as
present. Both are statements about pixels, and both are trained here. They are the negative and
the margin term of the evidence loss for two classes (D = M_1 - M_0), written for K classes.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import roi_align

CELLS = 14
"""Side of the grid on which a window's evidence is sampled."""


def window_cells(maps: Tensor, boxes: Tensor, scale: float) -> Tensor:
    """Sample class maps on a grid of 14 x 14 cells in each window.

    Args:
        maps: (B, K, h, w).
        boxes: (N, 5): item index, then x0 y0 x1 y1 in pixels of the image.
        scale: cells of the map per pixel of the image.

    Returns:
        (N, K, 14 * 14), bilinear.
    """
    sampled: Tensor = roi_align(maps, boxes, CELLS, scale, sampling_ratio=1, aligned=True)
    return sampled.flatten(2)


def absent_evidence_loss(cells: Tensor, labels: Tensor) -> Tensor:
    """Punish evidence for absent classes at every cell.

    Mean over windows with an absent class, and their cells, of minus the log of the posterior
    that any *present* class holds. With two classes this is the mean of softplus(D) over negative
    patches.

    Args:
        cells: (N, K, M) class maps.
        labels: (N, K) in {0, 1}.

    Returns:
        A scalar; zero, with gradient, where no window lacks a class.
    """
    some_absent = (labels == 0).any(dim=1) & (labels == 1).any(dim=1)
    if not some_absent.any():
        return cells.sum() * 0
    logs = F.log_softmax(cells[some_absent], dim=1)
    absent = (labels[some_absent] == 0)[:, :, None]
    return -torch.logsumexp(logs.masked_fill(absent, float("-inf")), dim=1).mean()


def present_evidence_loss(cells: Tensor, labels: Tensor, share: float) -> Tensor:
    """Ask for evidence of each present class at its most likely cells.

    For each class of a window with several classes: the mean, over the `share` of cells where its
    posterior is highest, of minus the log posterior (top-q pooling).

    Args:
        cells: (N, K, M) class maps.
        labels: (N, K) in {0, 1}.
        share: q in (0, 1]; not above the least share that counts as present, to be strict;
            larger values trust that present classes cover more.

    Returns:
        A scalar; zero, with gradient, where no window has several classes.
    """
    several = labels.sum(dim=1) > 1
    if not several.any():
        return cells.sum() * 0
    logs = F.log_softmax(cells[several], dim=1)
    count = max(1, round(share * logs.shape[2]))
    top = logs.topk(count, dim=2).values.mean(dim=2)
    return -top[labels[several] == 1].mean()
