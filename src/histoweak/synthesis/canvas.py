"""Grids of cells cut from cached patches."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from histoweak.synthesis.cache import PatchCache
from histoweak.synthesis.draw import below, uniform

REDRAWS = 20
"""How often a cell that is too white is drawn again before it is taken as it is."""


@dataclass(frozen=True)
class Cells:
    """Cells of grids: rows of the cache, upper left corners in the patch, and turns.

    All int64 of one shape (..., C): `rows`, `xs`, `ys`, and `turns` 0..7: quarter turns, from 4
    on after a flip. `side` is that of a cell.
    """

    rows: Tensor
    xs: Tensor
    ys: Tensor
    turns: Tensor
    side: int

    def _fields(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.rows, self.xs, self.ys, self.turns

    def __getitem__(self, part: slice | Tensor) -> "Cells":
        rows, xs, ys, turns = (field[part] for field in self._fields())
        return Cells(rows, xs, ys, turns, self.side)

    def put(self, at: Tensor, others: "Cells") -> None:
        """Replace the cells at an index."""
        for field, other in zip(self._fields(), others._fields(), strict=True):
            field[at] = other

    def view(self, shape: tuple[int, ...]) -> "Cells":
        """Return the same cells in another shape."""
        rows, xs, ys, turns = (field.reshape(shape) for field in self._fields())
        return Cells(rows, xs, ys, turns, self.side)


def draw_cells(
    cache: PatchCache, rows: Tensor, side: int, turns: bool, generator: torch.Generator
) -> Cells:
    """Cut a random cell out of each patch; `turns` turns it by right angles and flips it."""
    free = cache.side - side + 1
    shape = tuple(rows.shape)
    xs, ys = (below(free, uniform(shape, generator, cache.device)) for _ in range(2))
    turned = below(8 if turns else 1, uniform(shape, generator, cache.device))
    return Cells(rows, xs, ys, turned, side)


def lay_cells(stack: Tensor, cells: Cells, grids: int, dtype: torch.dtype) -> Tensor:
    """Lay the cells of each image side by side in square grids.

    Args:
        stack: (N, C, S, S), one array per row of the cache.
        cells: of B images, (B, grids * across * across), grid after grid, row after row.
        grids: per image; they come to lie one below the other.
        dtype: of the result.

    Returns:
        (B, C, grids * across * s, across * s) on the device of `stack`.
    """
    return (_lay_each if stack.device.type == "cpu" else _lay_all)(stack, cells, grids, dtype)


def _across(cells: Cells, grids: int) -> int:
    return math.isqrt(cells.rows.shape[1] // grids)


def _lay_each(stack: Tensor, cells: Cells, grids: int, dtype: torch.dtype) -> Tensor:
    """One copy per cell: a processor then moves whole rows of pixels, and converts as it does."""
    across, side = _across(cells, grids), cells.side
    shape = (len(cells.rows), stack.shape[1], grids * across * side, across * side)
    laid = torch.empty(shape, dtype=dtype)
    fields = (cells.rows, cells.xs, cells.ys, cells.turns)
    for image, *each in zip(laid, *(field.tolist() for field in fields), strict=True):
        for place, (row, x, y, turns) in enumerate(zip(*each, strict=True)):
            top, left = place // across * side, place % across * side
            piece = stack[row, :, y : y + side, x : x + side]
            image[:, top : top + side, left : left + side] = turned(piece, turns)
    return laid


def _lay_all(stack: Tensor, cells: Cells, grids: int, dtype: torch.dtype) -> Tensor:
    """One gather for all cells: few kernels for an accelerator to start."""
    across, side = _across(cells, grids), cells.side
    flat = cells.view((-1,))
    windows = stack.unfold(2, side, 1).unfold(3, side, 1)
    pieces = windows[flat.rows, :, flat.ys, flat.xs]
    for code in range(1, 8):
        chosen = torch.nonzero(flat.turns == code).flatten()
        pieces[chosen] = turned(pieces[chosen], code)
    pieces = pieces.view(-1, grids * across, across, stack.shape[1], side, side)
    laid = torch.empty(
        (len(pieces), stack.shape[1], grids * across, side, across, side),
        dtype=dtype,
        device=stack.device,
    )
    laid.copy_(pieces.permute(0, 3, 1, 4, 2, 5))
    return laid.view(len(pieces), stack.shape[1], grids * across * side, across * side)


def turned(piece: Tensor, turns: int) -> Tensor:
    """Flip square pieces (..., s, s) along x if `turns` >= 4, then turn them `turns` % 4 times."""
    flipped = piece.flip(-1) if turns >= 4 else piece
    return torch.rot90(flipped, turns % 4, (-2, -1)) if turns % 4 else flipped


def crossfade(images: Tensor, seams: Tensor, width: int, dim: int) -> None:
    """Soften a seam in place: each side fades into the mirror image of the other.

    Args:
        images: (B, C, H, W) float.
        seams: (B,) first pixel behind the seam along `dim`.
        width: of the fade in pixels, even; half of it must fit on either side of the seam.
        dim: 2 for seams along rows, 3 for seams along columns.
    """
    reach = width // 2
    if reach == 0:
        return
    steps = torch.arange(reach, device=images.device)
    before, behind = seams[:, None] - 1 - steps, seams[:, None] + steps
    # From one half at the seam down to nothing at the end of the fade.
    weight = (0.5 - (steps + 0.5) / width).to(images).view((-1, 1) if dim == 2 else (1, -1))
    first, second = (_strip(images, at, dim) for at in (before, behind))
    left, right = images.gather(dim, first), images.gather(dim, second)
    change = (right - left) * weight
    images.scatter_(dim, first, left + change)
    images.scatter_(dim, second, right - change)


def _strip(images: Tensor, at: Tensor, dim: int) -> Tensor:
    """Index of strips for gather and scatter: (B, C, H, r) or (B, C, r, W)."""
    batch, channels, height, width = images.shape
    if dim == 3:
        return at[:, None, None, :].expand(batch, channels, height, -1)
    return at[:, None, :, None].expand(batch, channels, -1, width)
