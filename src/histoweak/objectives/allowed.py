"""Which classes the labels of a batch's windows allow at each cell of a map."""

import torch
from torch import Tensor


def allowed_cells(
    boxes: Tensor, labels: Tensor, items: int, size: tuple[int, int], scale: float
) -> Tensor:
    """Classes that every window over a cell's centre names.

    Args:
        boxes: (N, 5): item index, then x0 y0 x1 y1 in pixels of the image.
        labels: (N, K) in {0, 1}.
        items: B.
        size: (h, w) of the map.
        scale: cells of the map per pixel of the image.

    Returns:
        (B, K, h, w) bool; cells that no window covers allow all classes, and cells whose windows
        contradict each other (labels overlook small areas) allow none.
    """
    rows = _covers(boxes[:, 2] * scale, boxes[:, 4] * scale, size[0])
    columns = _covers(boxes[:, 1] * scale, boxes[:, 3] * scale, size[1])
    forbidden = labels.new_zeros(items, labels.shape[1], *size)
    cells = torch.einsum("nk,nh,nw->nkhw", 1 - labels, rows.to(labels), columns.to(labels))
    forbidden.index_add_(0, boxes[:, 0].long(), cells)
    return forbidden == 0


def _covers(start: Tensor, end: Tensor, length: int) -> Tensor:
    """(N, length) bool: the cell's centre lies in [start, end)."""
    centres = torch.arange(length, device=start.device, dtype=start.dtype) + 0.5
    return (start[:, None] <= centres) & (centres < end[:, None])
