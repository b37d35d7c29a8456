"""Stroma: wavy collagen bundles, spindle nuclei along them, capillaries, stray lymphocytes."""

import numpy as np

from histoweak.data.phantom.canvas import Canvas
from histoweak.data.phantom.cells import Ellipses, nucleus
from histoweak.data.phantom.noise import Plane, subkey, warped_noise
from histoweak.data.phantom.regions import STROMA


def fibre_coordinates(canvas: Canvas) -> tuple[Plane, Plane]:
    """Curved coordinates in microns: across the fibres and along them.

    A plane rotated at random and warped at three scales; near other tissue the first
    coordinate follows the border, so that collagen runs around nests.
    """
    window = canvas.window
    turn = np.pi * (subkey(canvas.key, "turn") % 4096) / 4096
    y, x = window.ys[:, None], window.xs[None, :]
    across = np.cos(turn) * x + np.sin(turn) * y + 50 * canvas.noise("sweep", 240.0)
    # Over a slide, rather than within a patch, fibres turn to every direction.
    across += 200 * canvas.noise("course", 900.0)
    across += 8 * canvas.noise("wave", 38.0) + 1.5 * canvas.noise("ripple", 11.0)
    along = np.cos(turn) * y - np.sin(turn) * x + 30 * canvas.noise("slip", 90.0)
    close = np.clip(1 - canvas.regions.depth / 30, 0, 1)
    around = close * close * (3 - 2 * close)
    across += around * (0.4 * canvas.regions.depth)
    return across.astype(np.float32), along.astype(np.float32)


def paint_stroma(canvas: Canvas) -> None:
    """Paint the stroma of a canvas."""
    across, along = fibre_coordinates(canvas)
    key, window = canvas.key, canvas.window

    def fibres(name: str, width: float, length: float) -> Plane:
        return warped_noise(subkey(key, name), across / np.float32(width), along / length)

    bundle, strand, fibril = (
        fibres("bundle", 8.5, 60.0),
        fibres("strand", 3.6, 26.0),
        fibres("fibril", max(1.6, 1.4 * window.mpp), 12.0),
    )
    slope_y, slope_x = (np.asarray(g / window.mpp, np.float32) for g in np.gradient(across))
    # Where the coordinate hardly changes bands would be broad as in marble; there the fibres run
    # towards the eye and show as grain instead.
    end_on = np.clip(1.2 - np.sqrt(slope_y**2 + slope_x**2), 0, 1)
    grain = 0.09 + 0.22 * end_on
    dense = (1 - 0.7 * end_on) * (0.28 * bundle + 0.22 * strand) + 0.20 * fibril
    dense += grain * canvas.noise("grain/stroma", 3.0)
    oedema = canvas.noise("oedema", 60.0)
    canvas.paint(STROMA, 0.95 + 0.35 * dense + 0.12 * oedema, 1.02 + dense - 0.10 * oedema)
    gaps = (
        np.clip(-0.50 * bundle - 0.42 * strand - 0.20 * fibril - 0.72 + 0.22 * oedema, 0, 0.5) * 1.7
    )
    canvas.open(gaps.astype(np.float32), STROMA)

    run = np.arctan2(slope_x, -slope_y).astype(np.float32)
    _spindle_nuclei(canvas, run)


def _spindle_nuclei(canvas: Canvas, run: Plane) -> None:
    """Thin dark nuclei of fibrocytes and plumper ones of active fibroblasts."""
    density = np.clip(0.45 + 0.33 * canvas.noise("cellular", 60.0), 0.08, 1)
    cells = canvas.points("spindle", 13.5, STROMA, 1.5, density.astype(np.float32), jitter=0.45)
    plump = cells.draws[:, 0] < 0.4
    minor = np.where(plump, 1.9 + 0.9 * cells.draws[:, 1], 0.95 + 0.65 * cells.draws[:, 1])
    major = np.where(plump, 4.0 + 2.2 * cells.draws[:, 2], 4.8 + 4.0 * cells.draws[:, 2])
    angle = canvas.window.at(run, cells.y, cells.x) + 0.45 * (cells.draws[:, 3] - 0.5)
    tone = np.where(plump, 0.75, 1.05) * (0.7 + 0.55 * cells.draws[:, 4])
    shapes = Ellipses.at(cells, major, minor, angle, tone, wobble=0.12)
    canvas.add_nuclei(shapes, nucleus(0.95, 0.28, 0.35))
