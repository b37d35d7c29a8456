"""Blobs: regions inside closed curves of cubic Bezier pieces (HisynSeg, Bezier synthesis).

Random points are sorted by their angle about their centroid and joined by curves whose tangents
agree at every point.
"""

import math

import torch
from torch import Tensor

from histoweak.synthesis.config import BezierConfig
from histoweak.synthesis.draw import uniform

TRIES = 200
"""Draws of vertices that lie too close are repeated this often, then taken as they are."""


def draw_vertices(
    n: int, config: BezierConfig, generator: torch.Generator, device: torch.device
) -> Tensor:
    """Draw the vertices of n blobs.

    Returns:
        (n, V, 2) float32 in the unit square, (x, y), counter-clockwise about their centroid.
    """
    shape = (config.vertices, 2)
    points = _sorted(uniform((n, *shape), generator, device))
    pending = torch.nonzero(~_spaced(points, config)).flatten()
    for _ in range(TRIES):
        if len(pending) == 0:
            break
        fresh = _sorted(uniform((len(pending), *shape), generator, device))
        points[pending] = fresh
        pending = pending[~_spaced(fresh, config)]
    return points


def _sorted(points: Tensor) -> Tensor:
    centred = points - points.mean(dim=1, keepdim=True)
    order = torch.atan2(centred[..., 1], centred[..., 0]).argsort(dim=1)
    return points.gather(1, order[..., None].expand_as(points))


def _spaced(points: Tensor, config: BezierConfig) -> Tensor:
    """(n,) bool: whether neighbours lie 0.7 / V of the side apart."""
    steps = points.diff(dim=1)
    if config.spacing == "none":
        return torch.ones(len(points), dtype=torch.bool, device=points.device)
    # The released code takes the root of dx + dy, which is no number when that is negative, and
    # squares it: the rule then fails.
    distance = steps.norm(dim=2) if config.spacing == "euclidean" else steps.sum(dim=2)
    return (distance >= 0.7 / config.vertices).all(dim=1)


def outlines(vertices: Tensor, config: BezierConfig) -> Tensor:
    """Closed curves through vertices.

    The tangent at a vertex has the angle p * out + (1 - p) * in of the two edges there, turned by
    pi where they differ by more than pi, with p = atan(edgy) / pi + 1/2. Handles are `rad` times
    as long as their edge.

    Args:
        vertices: (n, V, 2).
        config: `rad`, `edgy` and `samples`.

    Returns:
        (n, V * samples, 2) points, the last one before the first.
    """
    following = vertices.roll(-1, 1)
    edges = following - vertices
    leaving = torch.atan2(edges[..., 1], edges[..., 0]) % (2 * math.pi)
    arriving = leaving.roll(1, 1)
    share = math.atan(config.edgy) / math.pi + 0.5
    angle = share * leaving + (1 - share) * arriving
    angle = angle + math.pi * ((arriving - leaving).abs() > math.pi)
    tangents = torch.stack([angle.cos(), angle.sin()], dim=-1)
    reach = config.rad * edges.norm(dim=2, keepdim=True)
    corners = torch.stack(
        [
            vertices,
            vertices + reach * tangents,
            following - reach * tangents.roll(-1, 1),
            following,
        ],
        dim=2,
    )
    t = torch.arange(config.samples, device=vertices.device) / config.samples
    basis = torch.stack([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3])
    return torch.einsum("ks,nvkc->nvsc", basis, corners).flatten(1, 2)


def fill(polygons: Tensor, size: int) -> Tensor:
    """Even-odd fill: pixels whose centre an odd number of crossings lies left of.

    Args:
        polygons: (n, E, 2) points (x, y) in pixels, centres of pixels at whole numbers.
        size: side of the image.

    Returns:
        (n, size, size) bool.
    """
    x0, y0 = polygons.unbind(-1)
    x1, y1 = polygons.roll(-1, 1).unbind(-1)
    # An edge crosses the rows from ceil(low) up to below ceil(high): half open, so that a vertex on
    # a row belongs to one of its two edges alone.
    first = torch.minimum(y0, y1).ceil().clamp(0, size).long().flatten()
    count = torch.maximum(y0, y1).ceil().clamp(0, size).long().flatten() - first
    edge = torch.repeat_interleave(count)
    row = (
        first[edge] + torch.arange(len(edge), device=edge.device) - (count.cumsum(0) - count)[edge]
    )
    slope = ((x1 - x0) / (y1 - y0)).flatten()[edge]
    x = x0.flatten()[edge] + (row - y0.flatten()[edge]) * slope
    column = x.ceil().clamp(0, size).long()
    place = (edge // polygons.shape[1] * size + row) * (size + 1) + column
    toggles = torch.zeros(
        len(polygons) * size * (size + 1), dtype=torch.uint8, device=polygons.device
    )
    toggles.index_add_(0, place, torch.ones_like(place, dtype=torch.uint8))
    # Counts beyond 255 begin again at 0, which leaves odd and even as they are.
    crossed = toggles.view(-1, size, size + 1)[..., :size].cumsum(dim=2, dtype=torch.uint8)
    return (crossed & 1).bool()


def draw_blobs(
    n: int, size: int, config: BezierConfig, generator: torch.Generator, device: torch.device
) -> Tensor:
    """Draw n blobs (n, size, size) bool; see `BezierConfig` for their shape."""
    vertices = draw_vertices(n, config, generator, device)
    curves = outlines(vertices, config).mul_(size)
    return fill(curves, size)
