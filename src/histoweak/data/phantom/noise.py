"""Random functions of place: the same point of a field has the same value in every tile.

Everything the generator draws is a function of (key, position in microns). A field rendered in
tiles therefore has no seams, and a patch needs no state beyond its seed.
"""

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Plane = npt.NDArray[np.float32]
"""(h, w) float32, one value per pixel of a window."""

Vector = npt.NDArray[np.float32]
"""(N,) float32, one value per scattered point."""

_TABLE = 256
# Standard deviation of uniform [-1, 1) node values after cubic B-spline interpolation in two
# directions: 1/sqrt(3) times the mean of the squared weights along one axis, 151/315.
_SPLINE_SD = float(np.sqrt(1 / 3) * 151 / 315)


@dataclass(frozen=True)
class Window:
    """A rectangle of a field, in pixels of that field.

    Args:
        y0: row of the upper left pixel; may be negative.
        x0: column of the upper left pixel.
        height: rows.
        width: columns.
        mpp: microns per pixel.
    """

    y0: int
    x0: int
    height: int
    width: int
    mpp: float

    @property
    def ys(self) -> Vector:
        """(h,) microns, centres of the rows."""
        return ((np.arange(self.y0, self.y0 + self.height) + 0.5) * self.mpp).astype(np.float32)

    @property
    def xs(self) -> Vector:
        """(w,) microns, centres of the columns."""
        return ((np.arange(self.x0, self.x0 + self.width) + 0.5) * self.mpp).astype(np.float32)

    def grown(self, margin: int) -> "Window":
        """The window with `margin` pixels more on each side."""
        return Window(
            self.y0 - margin,
            self.x0 - margin,
            self.height + 2 * margin,
            self.width + 2 * margin,
            self.mpp,
        )

    def at(self, plane: npt.NDArray[Any], y: Vector, x: Vector) -> npt.NDArray[Any]:
        """Values of a plane of this window at points in microns; the edge serves beyond it."""
        rows = np.clip(np.floor(y / self.mpp).astype(np.intp) - self.y0, 0, self.height - 1)
        columns = np.clip(np.floor(x / self.mpp).astype(np.intp) - self.x0, 0, self.width - 1)
        return np.asarray(plane[rows, columns])


def subkey(key: int, name: str) -> int:
    """An independent key for one named use of `key`."""
    sequence = np.random.SeedSequence((key, zlib.crc32(name.encode())))
    return int(sequence.generate_state(1, np.uint64)[0])


def hashed(key: int, rows: npt.NDArray[Any], columns: npt.NDArray[Any]) -> npt.NDArray[np.uint64]:
    """64 random bits for each (row, column), which broadcast (splitmix64, Steele et al. 2014)."""
    y = rows.astype(np.int64).view(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    x = columns.astype(np.int64).view(np.uint64) * np.uint64(0xC2B2AE3D27D4EB4F)
    z = (y + np.uint64(key)) ^ (x + np.uint64(key >> 7))
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(z ^ (z >> np.uint64(31)))


def uniform(key: int, rows: npt.NDArray[Any], columns: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Uniform numbers in [0, 1) for each (row, column)."""
    top = (hashed(key, rows, columns) >> np.uint64(40)).astype(np.float32)
    return top * np.float32(2.0**-24)


def normal(key: int, rows: npt.NDArray[Any], columns: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Nearly normal numbers, unit variance: the sum of the four 16-bit parts of one hash."""
    bits = hashed(key, rows, columns)
    parts = bits.view(np.uint16).reshape(*bits.shape, 4).sum(axis=-1, dtype=np.uint32)
    return np.asarray((parts.astype(np.float32) / 65536 - 2) * np.float32(np.sqrt(3)), np.float32)


def _spline_taps(places: Vector) -> tuple[npt.NDArray[np.int64], list[Vector]]:
    """First node and the four cubic B-spline weights for each place, in units of the pitch."""
    cell = np.floor(places)
    f = places - cell
    taps = [(1 - f) ** 3, 3 * f**3 - 6 * f**2 + 4, -3 * f**3 + 3 * f**2 + 3 * f + 1, f**3]
    return cell.astype(np.int64) - 1, [tap / np.float32(6) for tap in taps]


def smooth_noise(window: Window, key: int, scale: float) -> Plane:
    """Smooth isotropic noise of zero mean and unit variance.

    Args:
        window: where.
        key: which noise.
        scale: microns between independent values; taken as one pixel where it is less.
    """
    pitch = np.float32(max(scale, window.mpp))
    row, row_taps = _spline_taps(window.ys / pitch)
    column, column_taps = _spline_taps(window.xs / pitch)
    rows = np.arange(row[0], row[-1] + 4)
    columns = np.arange(column[0], column[-1] + 4)
    nodes = uniform(key, rows[:, None], columns[None, :]) * 2 - 1
    # Element by element, not as a matrix product, whose rounding depends on the tile's size.
    tall = sum(tap[:, None] * nodes[row - row[0] + k] for k, tap in enumerate(row_taps))
    full = sum(tap * tall[:, column - column[0] + k] for k, tap in enumerate(column_taps))
    return np.asarray(full / np.float32(_SPLINE_SD), np.float32)


def warped_noise(key: int, u: Plane, v: Plane) -> Plane:
    """Noise over arbitrary coordinates, unit pitch, unit variance (repeats after 256 units)."""
    index = np.arange(_TABLE)
    table = uniform(key, index[:, None], index[None, :]) * 2 - 1
    sampled = ndimage.map_coordinates(table, (u, v), order=1, mode="grid-wrap")
    # Linear interpolation keeps 2/3 of the standard deviation.
    return np.asarray(sampled * np.float32(1.5 * np.sqrt(3)), np.float32)


@dataclass(frozen=True)
class Points:
    """Scattered points.

    Args:
        y: (N,) microns.
        x: (N,) microns.
        draws: (N, 8) uniform numbers in [0, 1) that go with each point.
    """

    y: Vector
    x: Vector
    draws: Plane

    def keep(self, chosen: npt.NDArray[np.bool_]) -> "Points":
        """The points where `chosen` holds."""
        return Points(self.y[chosen], self.x[chosen], self.draws[chosen])


def scatter(window: Window, key: int, spacing: float, jitter: float) -> Points:
    """Points of a hexagonal lattice, each moved at random: even, never regular.

    Args:
        window: where; points just outside it are returned too where jitter brings them in.
        key: which scatter.
        spacing: microns between neighbours on the lattice.
        jitter: largest move, in units of `spacing`.
    """
    pitch = spacing * np.sqrt(3) / 2
    rows = np.arange(
        int(np.floor(window.ys[0] / pitch)) - 1, int(np.ceil(window.ys[-1] / pitch)) + 2
    )[:, None]
    columns = np.arange(
        int(np.floor(window.xs[0] / spacing)) - 2, int(np.ceil(window.xs[-1] / spacing)) + 2
    )[None, :]
    y = (rows + jitter * (2 * uniform(subkey(key, "y"), rows, columns) - 1)) * pitch
    shift = (rows % 2) * 0.5
    x = (columns + shift + jitter * (2 * uniform(subkey(key, "x"), rows, columns) - 1)) * spacing
    lanes = np.arange(8)
    flat = rows * np.int64(1 << 24) + columns
    draws = uniform(subkey(key, "draws"), flat.reshape(-1, 1), lanes[None, :])
    return Points(y.ravel().astype(np.float32), x.ravel().astype(np.float32), draws)
