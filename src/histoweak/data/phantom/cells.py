"""Drawing many small rotated ellipses at once: nuclei, cell bodies, red cells, debris."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from histoweak.data.phantom.noise import Plane, Points, Vector, Window

Floats = npt.NDArray[np.floating[Any]]

Profile = Callable[[Plane], Plane]
"""From the relative radius (0 at the centre, 1 on the outline) to a value."""


@dataclass(frozen=True)
class Ellipses:
    """Ellipses with uneven outlines.

    Args:
        y: (N,) microns.
        x: (N,) microns.
        major: (N,) semi-axis along `angle`, microns.
        minor: (N,) semi-axis across, microns.
        angle: (N,) radians, 0 along x, growing towards y.
        tone: (N,) factor on what is drawn.
        wobble: (N, 2) unevenness of the outline, relative to the radius.
    """

    y: Vector
    x: Vector
    major: Vector
    minor: Vector
    angle: Vector
    tone: Vector
    wobble: Plane

    @classmethod
    def at(
        cls,
        points: Points,
        major: Floats,
        minor: Floats,
        angle: Floats,
        tone: Floats,
        wobble: float = 0.0,
    ) -> "Ellipses":
        """Ellipses at scattered points, with unevenness up to `wobble`."""
        uneven = (points.draws[:, 6:8] * 2 - 1) * np.float32(wobble)
        long, short, turn, factor = (np.asarray(v, np.float32) for v in (major, minor, angle, tone))
        return cls(points.y, points.x, long, short, turn, factor, uneven)

    def scaled(self, factor: float) -> "Ellipses":
        """The same ellipses with other diameters."""
        grown = np.float32(factor)
        return Ellipses(
            self.y,
            self.x,
            self.major * grown,
            self.minor * grown,
            self.angle,
            self.tone,
            self.wobble,
        )


def nucleus(fill: float, rim: float, soft: float) -> Profile:
    """A disc of density `fill` with a darker membrane.

    Args:
        fill: value inside.
        rim: what the membrane adds.
        soft: width of the outline's fall-off, relative to the radius.
    """

    def profile(radius: Plane) -> Plane:
        edge = np.clip((1 + soft / 2 - radius) / np.float32(soft), 0, 1)
        membrane = np.clip(1 - np.abs(radius - np.float32(0.82)) * np.float32(5), 0, 1)
        return np.asarray(edge * (np.float32(fill) + np.float32(rim) * membrane), np.float32)

    return profile


def dome(radius: Plane) -> Plane:
    """1 in the centre, falling to 0 on the outline."""
    return np.asarray(np.maximum(1 - radius * radius, 0), np.float32)


def ring(radius: Plane) -> Plane:
    """1 on the outline, falling to 0 inside and outside."""
    return np.asarray(np.clip(1 - np.abs(radius - 0.8) * 3.5, 0, 1), np.float32)


def _batches(
    window: Window, shapes: Ellipses, reach: float
) -> Iterator[tuple[npt.NDArray[np.intp], int]]:
    """Index groups of like size and the half width in pixels of the square that holds each."""
    half = np.ceil(np.maximum(shapes.major, shapes.minor) * reach / window.mpp).astype(np.intp) + 1
    row, column = shapes.y / window.mpp - window.y0, shapes.x / window.mpp - window.x0
    near = (row > -half) & (row < window.height + half)
    near &= (column > -half) & (column < window.width + half)
    group = (half + 1) // 2
    for value in np.unique(group[near]):
        yield np.flatnonzero(near & (group == value)), int(2 * value)


def _rasterise(
    window: Window, shapes: Ellipses, profile: Profile, reach: float
) -> Iterator[tuple[npt.NDArray[np.intp], Plane]]:
    """Flat pixel indices and drawn values, batch by batch, where values are above 0."""
    mpp = np.float32(window.mpp)
    for chosen, half in _batches(window, shapes, reach):
        y, x = shapes.y[chosen] / mpp, shapes.x[chosen] / mpp
        offsets = np.arange(-half, half + 1)
        rows = np.floor(y).astype(np.intp)[:, None] + offsets
        columns = np.floor(x).astype(np.intp)[:, None] + offsets
        dy = ((rows + 0.5).astype(np.float32) - y[:, None]) * mpp
        dx = ((columns + 0.5).astype(np.float32) - x[:, None]) * mpp
        cos, sin = np.cos(shapes.angle[chosen]), np.sin(shapes.angle[chosen])
        major, minor = shapes.major[chosen], shapes.minor[chosen]
        along = dx[:, None, :] * (cos / major)[:, None, None]
        along = along + dy[:, :, None] * (sin / major)[:, None, None]
        across = dy[:, :, None] * (cos / minor)[:, None, None]
        across = across - dx[:, None, :] * (sin / minor)[:, None, None]
        square = along * along + across * across
        # A cubic in (along, across) over the radius squared is a bump with three lobes; the
        # odd term makes an egg of the ellipse.
        egg, lobes = (shapes.wobble[chosen, k][:, None, None] for k in range(2))
        three = along * (along * along - 3 * across * across) / (square + np.float32(0.05))
        radius = np.sqrt(square) * (1 + egg * along / (1 + square)) + lobes * three
        values = profile(np.asarray(radius, np.float32)) * shapes.tone[chosen][:, None, None]
        rows, columns = rows - window.y0, columns - window.x0
        inside = (rows >= 0) & (rows < window.height)
        within = (columns >= 0) & (columns < window.width)
        hit = (values > 0) & inside[:, :, None] & within[:, None, :]
        index = rows[:, :, None] * window.width + columns[:, None, :]
        yield index[hit], values[hit]


def add_ellipses(
    plane: Plane, window: Window, shapes: Ellipses, profile: Profile, reach: float = 1.25
) -> None:
    """Add to a plane in place; where shapes overlap their values sum, as light absorption does.

    Args:
        plane: (h, w) of `window`.
        window: where the plane lies.
        shapes: what to draw.
        profile: value by relative radius; 0 beyond `reach`.
        reach: relative radius up to which to draw.
    """
    for index, values in _rasterise(window, shapes, profile, reach):
        drawn = np.bincount(index, values, minlength=plane.size)
        plane += drawn.reshape(plane.shape).astype(np.float32)


def highest_ellipse(
    window: Window, shapes: Ellipses, profile: Profile, reach: float = 1.25
) -> Plane:
    """(h, w) plane of the highest value of any shape at each pixel, 0 where there is none."""
    plane = np.zeros(window.height * window.width, np.float32)
    for index, values in _rasterise(window, shapes, profile, reach):
        np.maximum.at(plane, index, values)
    return plane.reshape(window.height, window.width)
