"""Means of maps over boxes, exact for any box."""

import torch
from torch import Tensor


def box_mean(maps: Tensor, boxes: Tensor, scale: tuple[float, float]) -> Tensor:
    """Mean of each map over each box, every cell weighted by the share that the box covers.

    Over a box that covers the whole map this is global average pooling.

    Args:
        maps: (B, K, h, w).
        boxes: (N, 5): item index, then x0 y0 x1 y1 in pixels of the image.
        scale: (rows, columns) of the map per pixel of the image, e.g. `(1 / 8, 1 / 8)`.

    Returns:
        (N, K) means.
    """
    items = boxes[:, 0].long()
    rows = _coverage(boxes[:, 2] * scale[0], boxes[:, 4] * scale[0], maps.shape[2])
    columns = _coverage(boxes[:, 1] * scale[1], boxes[:, 3] * scale[1], maps.shape[3])
    return torch.einsum("nkhw,nh,nw->nk", maps[items], rows, columns)


def _coverage(start: Tensor, end: Tensor, length: int) -> Tensor:
    """(N, length) share of each cell in the stretch [start, end); rows sum to one."""
    cells = torch.arange(length, device=start.device, dtype=start.dtype)
    covered = torch.minimum(end[:, None], cells + 1) - torch.maximum(start[:, None], cells)
    covered = covered.clamp(min=0)
    return covered / covered.sum(dim=1, keepdim=True).clamp(min=1e-6)
