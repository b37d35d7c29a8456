"""Mosaics of single-class patches (HisynSeg: Fang et al., IEEE TMI 2025, mosaic synthesis).

Four grids of cells, each cell from a patch of one class; each grid is warped, and one quadrant of
the image is cut out of it. All geometry is composed into one map from pixels of the image to
pixels of the grids, so that only what is seen is warped, all images of a chunk at once.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from histoweak.synthesis.cache import PatchCache
from histoweak.synthesis.canvas import REDRAWS, Cells, crossfade, draw_cells, lay_cells
from histoweak.synthesis.config import MosaicConfig
from histoweak.synthesis.draw import draw_classes, draw_rows
from histoweak.synthesis.stain import apply_exponents, exponents
from histoweak.synthesis.warp import Split, draw_split, draw_warps, fold, positions

CHUNK = 8
"""Images that are made at once on a CPU: their grids then stay in its caches."""

CHUNK_GPU = 256


@dataclass(frozen=True)
class Plan:
    """All that chance decides about n mosaics.

    `cells` (n, 4 * across * across), grid after grid; `warps` (n, 4, 2, 3) from pixels of the
    image to pixels of each grid; `powers` (n, 4 * across * across, 3) of the stain, or None.
    """

    split: Split
    cells: Cells
    warps: Tensor
    powers: Tensor | None
    across: int

    def part(self, chosen: slice) -> "Plan":
        """Return the plan of some of the mosaics."""
        powers = None if self.powers is None else self.powers[chosen]
        split = Split(self.split.rows[chosen], self.split.columns[chosen])
        return Plan(split, self.cells[chosen], self.warps[chosen], powers, self.across)


def mosaic(
    cache: PatchCache, n: int, size: int, config: MosaicConfig, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Make mosaics on the cache's device.

    Args:
        cache: single-class patches.
        n: number of images.
        size: their side in pixels.
        config: the settings.
        generator: decides everything; on the CPU or on the cache's device.

    Returns:
        Images (n, 3, size, size) uint8, and masks (n, size, size) uint8: class indices, and the
        cache's `white_index` where it marks white background.
    """
    plan = draw_mosaics(cache, n, size, config, generator)
    images = torch.empty(n, 3, size, size, dtype=torch.uint8, device=cache.device)
    masks = torch.empty(n, size, size, dtype=torch.uint8, device=cache.device)
    chunk = CHUNK if cache.device.type == "cpu" else CHUNK_GPU
    for start in range(0, n, chunk):
        chosen = slice(start, start + chunk)
        images[chosen], masks[chosen] = _render(cache, plan.part(chosen), size, config)
    return images, masks


def draw_mosaics(
    cache: PatchCache, n: int, size: int, config: MosaicConfig, generator: torch.Generator
) -> Plan:
    """Draw everything that chance decides; see `mosaic`."""
    side = cell_side(cache, size, config)
    across = -(-size // side)
    cells = _draw_cells(cache, n, 4 * across * across, side, config, generator)
    split = draw_split(n, size, config.split, generator, cache.device)
    warps = draw_warps(split, size, across * side, config, generator)
    powers = None
    if config.harmonise > 0:
        powers = exponents(cache.stain, cells.rows, cells.rows[:, 0], config.harmonise)
    return Plan(split, cells, warps, powers, across)


def cell_side(cache: PatchCache, size: int, config: MosaicConfig) -> int:
    """Side of a cell in pixels: as set, else half the image, but at most a patch."""
    return min(config.cell or -(-size // 2), cache.side)


def _draw_cells(
    cache: PatchCache,
    n: int,
    count: int,
    side: int,
    config: MosaicConfig,
    generator: torch.Generator,
) -> Cells:
    """Draw cells; those that are too white are drawn again."""
    classes = draw_classes(cache, (n * count,), config.balance, generator)
    rows = draw_rows(cache, classes, generator)
    cells = draw_cells(cache, rows, side, config.turns, generator)
    if cache.white is not None and config.white_limit < 1:
        pending = torch.arange(n * count, device=cache.device)
        for _ in range(REDRAWS):
            some = cells[pending].view((-1, 1))
            share = lay_cells(cache.white[:, None], some, 1, torch.float32).mean(dim=(1, 2, 3))
            too_white = share > config.white_limit
            # What is white by its class may be as white as it is.
            too_white &= cache.classes[cells.rows[pending]] != cache.white_index
            pending = pending[too_white]
            if len(pending) == 0:
                break
            again = draw_classes(cache, (len(pending),), config.balance, generator)
            fresh = draw_rows(cache, again, generator)
            cells.put(pending, draw_cells(cache, fresh, side, config.turns, generator))
    return cells.view((n, count))


def _render(
    cache: PatchCache, plan: Plan, size: int, config: MosaicConfig
) -> tuple[Tensor, Tensor]:
    n, across, side = len(plan.warps), plan.across, plan.cells.side
    grid = across * side
    tall = lay_cells(cache.images, plan.cells, 4, torch.float32)
    reach = min(config.feather, side // 2 * 2)
    for line in range(side, grid, side) if reach else ():
        seam = torch.tensor([line], device=cache.device)
        square = tall.view(n * 3, 4, grid, grid)
        crossfade(square, seam.expand(n * 3), reach, 2)
        crossfade(square, seam.expand(n * 3), reach, 3)
    xs, ys, quadrant = positions(plan.split, plan.warps, size)
    fold(xs, grid)
    fold(ys, grid)
    cell = _cell_of(xs, ys, quadrant, side, across)
    masks = cache.classes[plan.cells.rows].to(torch.uint8).gather(1, cell).view(n, size, size)
    images = _sample(tall, xs, ys.add_(quadrant, alpha=grid))
    if plan.powers is not None:
        at = cell[:, None].expand(-1, 3, -1)
        powers = plan.powers.transpose(1, 2).gather(2, at).view(n, 3, size, size)
        images = apply_exponents(images, powers)
    if cache.white is not None:
        white = lay_cells(cache.white[:, None], plan.cells, 4, torch.bool).flatten(1)
        nearest = ys.round().long() * grid + xs.round().long()
        masks[white.gather(1, nearest.flatten(1)).view_as(masks)] = cache.white_index
    reach = min(config.feather, int(config.split * size) // 2 * 2)
    crossfade(images, plan.split.rows, reach, 2)
    crossfade(images, plan.split.columns, reach, 3)
    return images.add_(0.5).clamp_(0, 255).to(torch.uint8), masks


def _cell_of(xs: Tensor, ys: Tensor, quadrant: Tensor, side: int, across: int) -> Tensor:
    """(n, H * W) int64: index of the cell that each pixel shows."""
    column = xs.add(0.5).div_(side).floor_()
    row = ys.add(0.5).div_(side).floor_()
    cell = quadrant.mul(across).add_(row).mul_(across).add_(column)
    return cell.long().flatten(1)


def _sample(tall: Tensor, xs: Tensor, ys: Tensor) -> Tensor:
    """Bilinear pixels of (n, 3, 4 * G, G) at coordinates (n, H, W)."""
    at = torch.empty((*xs.shape, 2), device=xs.device)
    torch.mul(xs, 2 / (tall.shape[3] - 1), out=at[..., 0])
    torch.mul(ys, 2 / (tall.shape[2] - 1), out=at[..., 1])
    at.sub_(1)
    return F.grid_sample(tall, at, mode="bilinear", padding_mode="border", align_corners=True)
