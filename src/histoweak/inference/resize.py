"""From probabilities at working scale to class indices at the image's own size, row by row.

Linear interpolation is separable and local, so output rows can be made as soon as the two input
rows that they lie between are there. No more than a few rows of (K, H, W) ever exist.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from histoweak.inference.gate import Form, close_gate

CHUNK_VALUES = 1 << 24
"""Values interpolated at once: bounds the working memory at about 200 MB."""


def linear_positions(source: int, target: int) -> tuple[Tensor, Tensor, Tensor]:
    """Neighbours and weights of linear interpolation along one axis.

    The rule of bilinear resizing with `align_corners=False`: pixel centres lie at i + 0.5, and
    beyond the outer centres the border value holds.

    Returns:
        Lower index, upper index (int64) and weight of the upper one (float32), each (target,).
    """
    centre = (torch.arange(target, dtype=torch.float64) + 0.5) * (source / target) - 0.5
    centre = centre.clamp(0, source - 1)
    lower = centre.floor().long()
    upper = (lower + 1).clamp(max=source - 1)
    return lower, upper, (centre - lower).float()


def resize_bands(
    bands: Iterable[Tensor], source: tuple[int, int], target: tuple[int, int]
) -> Iterator[Tensor]:
    """Resize maps that arrive in bands of rows.

    Args:
        bands: (K, rows, w) float, consecutive from top to bottom, h rows in all.
        source: (h, w).
        target: (H, W).

    Yields:
        (K, rows, W) float, consecutive, H rows in all.
    """
    if source == target:
        yield from bands
        return
    lower, upper, weight = linear_positions(source[0], target[0])
    held: Tensor | None = None
    top = done = 0  # first input row that is held, first output row that is missing
    for band in bands:
        held = band if held is None else torch.cat([held, band], dim=1)
        ready = int(torch.searchsorted(upper, top + held.shape[1]))
        step = max(1, CHUNK_VALUES // (held.shape[0] * max(target[1], source[1])))
        for first in range(done, ready, step):
            rows = slice(first, min(first + step, ready))
            below, above, share = (v[rows].to(band.device) for v in (lower, upper, weight))
            mixed = _mix(held, below - top, above - top, share[:, None], dim=1)
            yield _to_width(mixed, target[1])
        done = ready
        needed = int(lower[done]) if done < target[0] else source[0]
        drop = min(needed - top, held.shape[1])
        held, top = held[:, drop:], top + drop


def index_mask(
    bands: Iterable[Tensor],
    source: tuple[int, int],
    target: tuple[int, int],
    present: Tensor | None = None,
    form: Form = "exclude",
    silent: int | None = None,
) -> npt.NDArray[np.uint8]:
    """Resize probabilities or logits that arrive in bands of rows, and keep the strongest class.

    Args:
        bands: as in `resize_bands`.
        source: (h, w).
        target: (H, W).
        present: (K,) bool, the classes that may win; see `gate.close_gate`.
        form: of the gate.
        silent: index of pixels on which every class has probability 0; None: the first class.

    Returns:
        (H, W) uint8 class indices.
    """
    mask = np.empty(target, np.uint8)
    top = 0
    for rows in resize_bands(bands, source, target):
        # Absent classes are masked after interpolating: infinities do not interpolate.
        strongest = close_gate(rows, present, form).argmax(0).to(torch.uint8)
        if silent is not None:
            strongest[rows.amax(0) <= 0] = silent
        mask[top : top + rows.shape[1]] = strongest.cpu().numpy()
        top += rows.shape[1]
    return mask


def interpolate(
    values: npt.NDArray[np.float32], axis: int, centres: npt.NDArray[np.float64]
) -> npt.NDArray[np.float32]:
    """Linear interpolation along one axis; beyond the outer cells their values hold.

    Args:
        values: of any shape.
        axis: along which.
        centres: (N,) places among the cells, 0 being the centre of the first.

    Returns:
        The values, N long along the axis.
    """
    last = values.shape[axis] - 1
    inside = centres.clip(0, last)
    lower = np.floor(inside).astype(np.int64)
    low, high = values.take(lower, axis), values.take(np.minimum(lower + 1, last), axis)
    share = (inside - lower).reshape([-1 if i == axis else 1 for i in range(values.ndim)])
    return np.asarray(low + share * (high - low), np.float32)


def _to_width(rows: Tensor, width: int) -> Tensor:
    lower, upper, weight = (v.to(rows.device) for v in linear_positions(rows.shape[-1], width))
    return _mix(rows, lower, upper, weight, dim=2)


def _mix(values: Tensor, lower: Tensor, upper: Tensor, weight: Tensor, dim: int) -> Tensor:
    return torch.lerp(values.index_select(dim, lower), values.index_select(dim, upper), weight)
