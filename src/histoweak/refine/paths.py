"""Pairs of neighbouring pixels, the paths between them, and the highest value along each path.

Ahn, Cho and Kwak (CVPR 2019), section 4.2, equation 4: two pixels belong together as far as no
boundary is crossed between them, `a_ij = 1 - max_k B(x_k)` over the pixels k of the path. The
straightforward way looks up every pixel of every path: 2134 values per pixel at a radius of 10.
Here paths are put together from shorter ones that are already known: about 3 values per path.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

Point = tuple[int, int]
"""(rows down, columns to the right)."""


@lru_cache
def displacements(radius: int) -> tuple[Point, ...]:
    """From a pixel to its partners within a radius, each pair once, the nearest first.

    `(0, x)` for 0 < x < radius and `(y, x)` for 0 < y < radius with `x^2 + y^2 < radius^2`: 152
    at a radius of 10, 34 at 5.

    Raises:
        ValueError: a radius below 2 has no pairs.
    """
    if radius < 2:
        raise ValueError(f"radius {radius}: expected at least 2")
    near = range(1 - radius, radius)
    found = [(0, x) for x in range(1, radius)]
    found += [(y, x) for y in range(1, radius) for x in near if y * y + x * x < radius * radius]
    return tuple(sorted(found, key=lambda d: (d[0] ** 2 + d[1] ** 2, d)))


def path(displacement: Point) -> frozenset[Point]:
    """Pixels between a pixel and its partner, both included.

    All of the box that the two span whose distance to the straight line is below 1.
    """
    dy, dx = displacement
    length = dy * dy + dx * dx
    rows, columns = range(min(0, dy), max(0, dy) + 1), range(min(0, dx), max(0, dx) + 1)
    # Squared distance times squared length: whole numbers, so the border case is exact.
    return frozenset(
        (y, x) for y in rows for x in columns if (y * dx - x * dy) ** 2 < max(length, 1)
    )


@lru_cache
def pieces(radius: int) -> tuple[tuple[tuple[Point, Point], ...], ...]:
    """How each path is covered by shifted shorter paths.

    Returns:
        For each of `displacements(radius)`, pairs (start, displacement) of paths that come earlier
        in that order, or of single pixels with displacement (0, 0). Greedy: what covers most of
        the rest first.
    """
    # Sets of pixels as bits of whole numbers: rows so wide that no shift reaches the next one.
    wide = 4 * radius

    def moved(bits: int, start: Point) -> int:
        shift = start[0] * wide + start[1]
        return bits << shift if shift >= 0 else bits >> -shift

    origin = 1 << radius
    known: dict[Point, int] = {(0, 0): origin}
    covers = []
    for displacement in displacements(radius):
        points = sorted(path(displacement))
        whole = sum(moved(origin, point) for point in points)
        offered = [
            (shifted, start, shorter)
            for start in points
            for shorter, bits in known.items()
            if (shifted := moved(bits, start)) | whole == whole
        ]
        missing, cover = whole, []
        while missing:
            shifted, start, shorter = max(offered, key=lambda o: (o[0] & missing).bit_count())
            cover.append((start, shorter))
            missing &= ~shifted
        covers.append(tuple(cover))
        known[displacement] = whole
    return tuple(covers)


@dataclass(frozen=True)
class Ends:
    """Where the pairs of one displacement lie on a map (..., h, w).

    Args:
        displacement: from the first pixel of a pair to the second.
        size: (h, w) of the map.
    """

    displacement: Point
    size: Point

    @property
    def empty(self) -> bool:
        """Whether the map is too small for any such pair."""
        return self.size[0] <= self.displacement[0] or self.size[1] <= abs(self.displacement[1])

    def first(self, values: Tensor) -> Tensor:
        """View of the first pixels of all pairs; values (..., h, w)."""
        dy, dx = self.displacement
        (height, width), left = self.size, max(0, -dx)
        return values[..., : height - dy, left : left + width - abs(dx)]

    def second(self, values: Tensor) -> Tensor:
        """View of the second pixels of all pairs; values (..., h, w)."""
        dy, dx = self.displacement
        width, left = self.size[1], max(0, dx)
        return values[..., dy:, left : left + width - abs(dx)]


def path_maxima(values: Tensor, radius: int) -> Iterator[tuple[Ends, Tensor]]:
    """Highest value on the path of every pair whose pixels both lie on the map.

    Args:
        values: (..., h, w); gradients flow through.
        radius: of `displacements`.

    Yields:
        The ends of the pairs and their maxima, as large as `ends.first(values)`; displacements
        that the map is too small for are left out.
    """
    size = (values.shape[-2], values.shape[-1])
    ends = [e for d in displacements(radius) if not (e := Ends(d, size)).empty]
    if ends:
        yield from zip(ends, _PathMaxima.apply(values, radius), strict=True)


class _PathMaxima(torch.autograd.Function):
    """`path_maxima` with a backward pass that allocates one gradient per displacement.

    Left to autograd, the gradient of every piece would be padded to a whole map.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor, radius: int) -> tuple[Tensor, ...]:
        maxima = {(0, 0): values}
        for displacement, parts in _parts(maxima, values, radius):
            highest = parts[0].clone()
            for part in parts[1:]:
                torch.maximum(highest, part, out=highest)
            maxima[displacement] = highest
        ctx.radius = radius
        ctx.save_for_backward(*maxima.values())
        return tuple(maxima.values())[1:]

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None]:
        values = ctx.saved_tensors[0]
        size = (values.shape[-2], values.shape[-1])
        names = [(0, 0), *(d for d in displacements(ctx.radius) if not Ends(d, size).empty)]
        maxima = dict(zip(names, ctx.saved_tensors, strict=True))
        first = [torch.zeros_like(values), *(g.clone() for g in upstream)]
        gradients = dict(zip(names, first, strict=True))
        pairs = zip(
            _parts(maxima, values, ctx.radius), _parts(gradients, values, ctx.radius), strict=True
        )
        # The longest path first: it hands its gradient to shorter ones. Of equal values the first
        # takes it all.
        for (displacement, parts), (_, targets) in reversed(list(pairs)):
            left = gradients[displacement]
            for part, target in zip(parts, targets, strict=True):
                share = left * (part == maxima[displacement])
                target += share
                left = left - share
        return gradients[0, 0], None


def _parts(
    known: Mapping[Point, Tensor], values: Tensor, radius: int
) -> Iterator[tuple[Point, list[Tensor]]]:
    """Views of the pieces of each path, taken from what is known of shorter paths by then."""
    size = (values.shape[-2], values.shape[-1])
    for displacement, cover in zip(displacements(radius), pieces(radius), strict=True):
        if Ends(displacement, size).empty:
            continue
        (dy, dx), (height, width) = displacement, size
        # What is known of a displacement begins at its own first pixels.
        starts = [(y, max(0, -dx) + x - max(0, -d[1]), d) for (y, x), d in cover]
        yield (
            displacement,
            [known[d][..., y : y + height - dy, x : x + width - abs(dx)] for y, x, d in starts],
        )
