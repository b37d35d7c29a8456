"""Means and maxima of maps over boxes."""

import math

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


def box_max(maps: Tensor, boxes: Tensor, scale: tuple[float, float]) -> Tensor:
    """Maximum of each map over each box, of the cells that the box covers by half or more.

    A box that covers no cell so far takes the one that its middle lies in. Over a box that covers
    the whole map this is global max pooling.

    Args:
        maps: (B, K, h, w).
        boxes: as in `box_mean`.
        scale: as in `box_mean`.

    Returns:
        (N, K) maxima.
    """
    rows, columns = maps.shape[2:]
    found = []
    for item, x0, y0, x1, y1 in boxes.tolist():
        down = _cells(y0 * scale[0], y1 * scale[0], rows)
        across = _cells(x0 * scale[1], x1 * scale[1], columns)
        found.append(maps[int(item), :, down, across].amax(dim=(1, 2)))
    return torch.stack(found) if found else maps.new_zeros(0, maps.shape[1])


def _cells(start: float, end: float, length: int) -> slice:
    """Cells of which the stretch [start, end) covers half; at least one."""
    first, beyond = math.ceil(start - 0.5), math.floor(end + 0.5)
    if beyond <= first:
        first = math.floor((start + end) / 2)
        beyond = first + 1
    first = min(max(first, 0), length - 1)
    return slice(first, max(min(beyond, length), first + 1))
