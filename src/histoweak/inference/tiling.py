"""Images of any size through a network of limited reach: overlapping tiles, smoothly blended.

Tiles lie on a regular grid; the last row and column are moved back so that they end at the border
and every tile has full context. The weights of a tile are the product of a column and a row
profile, each divided by the sum over all tiles beforehand. So weights add up to 1 at every pixel,
nothing has to be divided afterwards, and finished rows leave at once: the memory for results is
that of one row of tiles, however high the image is.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise

import torch
from torch import Tensor

TileFunction = Callable[[Tensor], Tensor]
"""(B, C, h, w) -> (B, K, h / stride, w / stride); h and w are multiples of the stride."""


def tile_starts(length: int, tile: int, overlap: int) -> list[int]:
    """First pixels of the tiles along one axis; neighbours share at least `overlap` pixels.

    Raises:
        ValueError: `overlap` is not smaller than `tile`, or a number is out of range.
    """
    if not 0 <= overlap < tile or length < 1:
        raise ValueError(f"length {length}, tile {tile}, overlap {overlap}")
    last = max(0, length - tile)
    return [*range(0, last, tile - overlap), last]


def tile_weights(length: int, tile: int, overlap: int) -> Tensor:
    """Weights of each tile along one axis, (tiles, min(tile, length)) float32.

    A raised cosine over the overlap, 1 between; never 0, and divided so that the weights of all
    tiles that cover a pixel sum to 1.
    """
    starts = tile_starts(length, tile, overlap)
    size = min(tile, length)
    profile = torch.ones(size, dtype=torch.float64)
    if overlap:
        ramp = torch.sin(torch.pi * (torch.arange(overlap) + 0.5) / (2 * overlap)).double() ** 2
        ramp = ramp[:size]
        profile[: len(ramp)] = ramp
        profile[size - len(ramp) :] = torch.minimum(profile[size - len(ramp) :], ramp.flip(0))
    total = torch.zeros(length, dtype=torch.float64)
    for start in starts:
        total[start : start + size] += profile
    return torch.stack([profile / total[start : start + size] for start in starts]).float()


def blend_bands(
    fn: TileFunction,
    image: Tensor,
    n_out: int,
    tile: int,
    overlap: int,
    batch: int,
    stride: int = 1,
) -> Iterator[Tensor]:
    """Apply `fn` tile by tile and yield the blended result from top to bottom.

    Args:
        fn: the network; its output is `stride` times smaller than its input.
        image: (C, H, W), any type that `fn` takes; H and W are multiples of `stride`.
        n_out: K, channels of the output.
        tile: largest height and width that `fn` is given, a multiple of `stride`.
        overlap: pixels that neighbouring tiles share at least, smaller than `tile` and a multiple
            of `stride`.
        batch: largest number of tiles given to `fn` at once.
        stride: pixels of the image per pixel of the output.

    Yields:
        (K, rows, W / stride) float32, consecutive; the rows add up to H / stride.

    Raises:
        ValueError: a size is no multiple of the stride, or the overlap too large.
    """
    if any(size % stride for size in (*image.shape[-2:], tile, overlap)):
        raise ValueError(f"{tuple(image.shape)}, {tile}, {overlap}: no multiples of {stride}")
    height, width = (size // stride for size in image.shape[-2:])
    tile, overlap = tile // stride, overlap // stride
    tops, lefts = tile_starts(height, tile, overlap), tile_starts(width, tile, overlap)
    down = tile_weights(height, tile, overlap).to(image.device)
    across = tile_weights(width, tile, overlap).to(image.device)
    rows = min(tile, height)
    band = torch.zeros(n_out, rows, width, device=image.device)
    for index, (top, following) in enumerate(pairwise([*tops, height])):
        strip = image[:, top * stride : (top + rows) * stride]
        for first in range(0, len(lefts), batch):
            part = lefts[first : first + batch]
            tiles = [strip[..., x * stride : (x + tile) * stride] for x in part]
            weights = across[first : first + batch, None, None] * down[index][:, None]
            for x, values in zip(part, fn(torch.stack(tiles)) * weights, strict=True):
                band[..., x : x + tile] += values
        done = following - top
        yield band[:, :done].clone()
        band = torch.cat([band[:, done:], torch.zeros_like(band[:, :done])], dim=1)


def blend_tiles(
    fn: TileFunction,
    image: Tensor,
    n_out: int,
    tile: int,
    overlap: int,
    batch: int,
    stride: int = 1,
) -> Tensor:
    """Apply `fn` tile by tile and blend; an image that fits into one tile takes one pass.

    Args: as in `blend_bands`.

    Returns:
        (K, H / stride, W / stride) float32.
    """
    bands = blend_bands(fn, image, n_out, tile, overlap, batch, stride)
    return torch.cat(list(bands), dim=1)
