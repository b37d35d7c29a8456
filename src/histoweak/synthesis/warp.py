"""Where in its grid each pixel of a mosaic comes from."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from histoweak.synthesis.config import MosaicConfig
from histoweak.synthesis.draw import below, uniform


@dataclass(frozen=True)
class Split:
    """Where mosaics are divided: `rows` and `columns` (n,) int64, sizes of the first quadrant."""

    rows: Tensor
    columns: Tensor


def draw_split(
    n: int, size: int, least: float, generator: torch.Generator, device: torch.device
) -> Split:
    """Draw split lines between `least` and 1 - `least` of the side, rounded up to even pixels."""
    share = least + (1 - 2 * least) * uniform((2, n), generator, device)
    lines = (share * size).long()
    rows, columns = lines + lines % 2
    return Split(rows, columns)


def draw_warps(
    split: Split, size: int, grid: int, config: MosaicConfig, generator: torch.Generator
) -> Tensor:
    """Compose crop, warp and flip of every grid.

    Args:
        split: of n mosaics.
        size: side of a mosaic.
        grid: side of a grid, at least `size`.
        config: how far the warps go.
        generator: decides.

    Returns:
        (n, 4, 2, 3) float32 that take (x, y, 1) of the image to (x, y) of a grid, pixel centres
        at whole numbers; they may lie beyond the grid, see `fold`.
    """
    n, device = len(split.rows), split.rows.device
    ends = torch.stack([split.rows, split.columns], dim=1)[:, None]  # (n, 1, 2)
    second = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]], device=device).bool()
    lengths = torch.where(second, size - ends, ends)  # (n, 4, 2) rows and columns of quadrants
    crops = below(grid - lengths + 1, uniform((n, 4, 2), generator, device))
    origins = torch.where(second, ends, 0)
    warped = _scaled(n, grid, config, generator, device)
    warped[..., 2] += torch.einsum(
        "nqij,nqj->nqi", warped[..., :2], (crops - origins).flip(-1).double()
    )
    flips = _flips(n, config.flip, generator, device)
    warped[flips] = -warped[flips]
    warped[..., 2] += flips * (grid - 1)
    return warped.float()


def _scaled(
    n: int, grid: int, config: MosaicConfig, generator: torch.Generator, device: torch.device
) -> Tensor:
    """(n, 4, 2, 3) float64 inverse of shift, scale and turn about the centre of a grid."""
    drawn = uniform((n, 4, 5), generator, device).double()
    active = (drawn[..., 0] < config.warp).double()
    spread = (2 * drawn[..., 1:] - 1) * active[..., None]
    angle = spread[..., 0] * math.radians(config.rotate)
    scale = 1 + spread[..., 1] * config.scale
    shift = spread[..., 2:] * config.shift * grid
    cos, sin = angle.cos() / scale, angle.sin() / scale
    matrix = torch.stack([torch.stack([cos, sin], -1), torch.stack([-sin, cos], -1)], -2)
    centre = (grid - 1) / 2
    offset = centre - torch.einsum("nqij,nqj->nqi", matrix, centre + shift)
    return torch.cat([matrix, offset[..., None]], dim=-1)


def _flips(n: int, share: float, generator: torch.Generator, device: torch.device) -> Tensor:
    """(n, 4, 2) bool: whether x and y are mirrored; one of them or both, with probability."""
    drawn = uniform((n, 4, 2), generator, device)
    kind = torch.where(drawn[..., 0] < share, 1 + below(3, drawn[..., 1]), 0)
    return torch.stack([kind % 2 == 1, kind >= 2], dim=-1)


def positions(split: Split, warps: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Coordinates in its grid of every pixel.

    Returns:
        x and y, (n, size, size) float32, and the number of the quadrant, 0..3, as float32.
    """
    along = torch.arange(size, device=warps.device)
    below_line = (along >= split.rows[:, None])[:, :, None]
    behind_line = (along >= split.columns[:, None])[:, None, :]
    pixels = along.float()
    found = []
    for axis in range(2):
        a, b, c = warps[:, :, axis].unbind(-1)  # (n, 4) each
        # Linear in x within a quadrant: one row per half of the image, and likewise for y.
        across = a[..., None] * pixels + c[..., None]
        down = b[..., None] * pixels
        top, bottom = (
            torch.where(behind_line, across[:, q + 1, None], across[:, q, None]) for q in (0, 2)
        )
        left, right = (
            torch.where(below_line, down[:, q + 2, :, None], down[:, q, :, None]) for q in (0, 1)
        )
        place = torch.where(below_line, bottom, top)
        found.append(place.add_(torch.where(behind_line, right, left)))
    quadrant = below_line.float() * 2 + behind_line.float()
    return found[0], found[1], quadrant


def fold(places: Tensor, length: int) -> None:
    """Mirror coordinates at the borders 0 and `length` - 1, in place.

    One reflection is enough for what `MosaicConfig` allows; what were still outside is clipped.
    """
    last = length - 1
    places.abs_().neg_().add_(last).abs_().neg_().add_(last).clamp_(0, last)
