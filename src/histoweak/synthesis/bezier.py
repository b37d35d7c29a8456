"""Bezier images (HisynSeg: Fang et al., IEEE TMI 2025, Bezier synthesis).

I = B * F + (1 - B) * G with a blob B, a patch F of one class inside and a patch G of another one
outside; the mask likewise.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from histoweak.errors import ConfigError
from histoweak.synthesis.blob import draw_blobs
from histoweak.synthesis.cache import PatchCache
from histoweak.synthesis.canvas import Cells, crossfade, draw_cells, lay_cells
from histoweak.synthesis.config import BezierConfig
from histoweak.synthesis.draw import below, draw_rows, uniform
from histoweak.synthesis.stain import apply_exponents, exponents

CHUNK = 16
CHUNK_GPU = 256


def bezier(
    cache: PatchCache, n: int, size: int, config: BezierConfig, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Make images of one class inside a blob and another one outside, on the cache's device.

    Args:
        cache: single-class patches.
        n: number of images.
        size: their side in pixels.
        config: the settings.
        generator: decides everything; on the CPU or on the cache's device.

    Returns:
        Images (n, 3, size, size) uint8, and masks (n, size, size) uint8: class indices, and the
        cache's `white_index` where it marks white background and the settings ask for it.

    Raises:
        ConfigError: fewer than two classes, or a pair of classes, have patches.
    """
    pairs = _pairs(cache, config)
    chosen = below(len(pairs), uniform((n,), generator, cache.device))
    classes = pairs[chosen]  # (n, 2) background and foreground
    cells, across = _draw_cells(cache, classes, size, config, generator)
    blobs = draw_blobs(n, size, config, generator, cache.device)
    chunk = CHUNK if cache.device.type == "cpu" else CHUNK_GPU
    parts = [
        _render(cache, cells[at], across, blobs[at], size, config)
        for at in (slice(start, start + chunk) for start in range(0, n, chunk))
    ]
    images, masks = zip(*parts, strict=True)
    return torch.cat(images), torch.cat(masks)


def _pairs(cache: PatchCache, config: BezierConfig) -> Tensor:
    """(P, 2) int64 pairs of background and foreground class that may be drawn."""
    present = set(torch.nonzero(cache.counts).flatten().tolist())
    wanted = config.pairs or [(a, b) for a in sorted(present) for b in sorted(present) if a != b]
    lacking = sorted({c for pair in wanted for c in pair} - present)
    if lacking or not wanted:
        found = f"patches of the classes {sorted(present)} alone"
        raise ConfigError(
            found + (f", none of {lacking}" if lacking else ""),
            where="bezier.pairs",
            expected="at least two classes, and all that pairs name",
            remedy="Correct the pairs, add single-class patches, or use mosaics alone",
        )
    return torch.tensor(wanted, device=cache.device)


def _draw_cells(
    cache: PatchCache, classes: Tensor, size: int, config: BezierConfig, generator: torch.Generator
) -> tuple[Cells, int]:
    """Cells (n, 2 * across^2) of the background, then of the foreground; cells per side."""
    side = cache.side if config.fit == "resize" else min(cache.side, size)
    across = 1 if config.fit == "resize" else -(-size // side)
    rows = draw_rows(cache, classes.repeat_interleave(across * across, dim=1), generator)
    return draw_cells(cache, rows, side, config.turns, generator), across


def _render(
    cache: PatchCache, cells: Cells, across: int, blobs: Tensor, size: int, config: BezierConfig
) -> tuple[Tensor, Tensor]:
    layers = _two(lay_cells(cache.images, cells, 2, torch.float32))
    if across > 1:
        _soften_grid(layers, cells.side, config.feather)
    images = _composed(_fitted(layers, size, config), blobs, config)
    if config.harmonise > 0:
        powers = exponents(cache.stain, cells.rows, cells.rows[:, 0], config.harmonise)
        images = apply_exponents(images, _by_pixel(powers, blobs, cells.side, across))
    first, last = (cache.classes[cells.rows[:, i], None, None].to(torch.uint8) for i in (0, -1))
    masks = torch.where(blobs, last, first)
    if config.white and cache.white is not None:
        white = _two(lay_cells(cache.white[:, None], cells, 2, torch.float32))
        white = _fitted(white, size, config, nearest=True)[:, 0] > 0
        masks[torch.where(blobs, white[:, 1], white[:, 0])] = cache.white_index
    return images.add_(0.5).clamp_(0, 255).to(torch.uint8), masks


def _two(laid: Tensor) -> Tensor:
    """(n, C, 2 * G, G) as background and foreground, (n, C, 2, G, G)."""
    return laid.view(*laid.shape[:2], 2, laid.shape[3], laid.shape[3])


def _soften_grid(layers: Tensor, side: int, feather: int) -> None:
    """Cross-fade the seams between cells of (n, 3, 2, G, G), in place."""
    flat = layers.view(-1, 1, *layers.shape[-2:])
    for line in range(side, layers.shape[-1], side):
        seams = torch.full((len(flat),), line, device=layers.device)
        for dim in (2, 3):
            crossfade(flat, seams, min(feather, side // 2 * 2), dim)


def _composed(layers: Tensor, blobs: Tensor, config: BezierConfig) -> Tensor:
    """Front (n, 3, 1, H, W) inside the blobs, back outside, as (n, 3, H, W)."""
    back, front = layers[:, :, 0], layers[:, :, 1]
    if not config.feather:
        return torch.where(blobs[:, None], front, back)
    return torch.lerp(back, front, _soft(blobs, config.feather)[:, None])


def _by_pixel(powers: Tensor, blobs: Tensor, side: int, across: int) -> Tensor:
    """Powers (n, 2 * across^2, 3) of the cells, as (n, 3, H, W)."""
    size = blobs.shape[-1]
    layers = powers.transpose(1, 2).reshape(-1, 3, 2, across, across)
    if across > 1:
        cell = torch.arange(size, device=blobs.device) // side
        layers = layers[..., cell, :][..., cell]
    return torch.where(blobs[:, None], layers[:, :, 1], layers[:, :, 0])


def _fitted(layers: Tensor, size: int, config: BezierConfig, nearest: bool = False) -> Tensor:
    """Bring layers (n, C, 2, H, W) to the size of the image, by resizing or by cutting."""
    if layers.shape[-1] == size:
        return layers
    if config.fit == "keep":
        return layers[..., :size, :size]
    mode = "nearest-exact" if nearest else "bicubic"
    resized = F.interpolate(layers.flatten(1, 2), (size, size), mode=mode, antialias=not nearest)
    return resized.view(*layers.shape[:3], size, size)


def _soft(blobs: Tensor, width: int) -> Tensor:
    """(n, H, W) float in [0, 1]: blobs with an edge that rises over `width` pixels."""
    counts = F.pad(blobs[:, None].to(torch.float32), (width // 2,) * 4, mode="replicate")[:, 0]
    counts = counts.to(torch.int16)
    # Sums of shifted counts: far cheaper on a processor than pooling or convolution.
    for dim in (1, 2):
        length = blobs.shape[dim]
        shifted = [counts.narrow(dim, start, length) for start in range(width + 1)]
        counts = sum(shifted[1:], shifted[0])
    return counts.float().div_((width + 1) ** 2)
