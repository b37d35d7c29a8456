"""Lymphocyte sheets, and the stray lymphocytes that every tissue holds."""

import numpy as np

from histoweak.data.phantom.canvas import Canvas
from histoweak.data.phantom.cells import Ellipses, add_ellipses, nucleus
from histoweak.data.phantom.noise import Plane, Points
from histoweak.data.phantom.regions import LYMPHOCYTES, NECROSIS, STROMA, TUMOUR


def _round_nuclei(points: Points, radius: float) -> Ellipses:
    draws = points.draws
    size = radius * (0.85 + 0.32 * draws[:, 0])
    stretch = 1.0 + 0.18 * draws[:, 1]
    tone = 0.85 + 0.35 * draws[:, 2]
    return Ellipses.at(
        points, size * stretch, size / stretch, draws[:, 3] * np.float32(6.28), tone, wobble=0.06
    )


def _halos(canvas: Canvas, nuclei: Ellipses, amount: float) -> Plane:
    """Pale shrinkage halos around nuclei."""
    plane = np.zeros_like(canvas.clear)
    add_ellipses(plane, canvas.window, nuclei.scaled(1.45), nucleus(amount, 0.0, 0.5))
    return np.minimum(plane, np.float32(1.3 * amount))


def paint_lymphocytes(canvas: Canvas) -> None:
    """Paint the lymphocyte sheets of a canvas."""
    mesh = canvas.noise("mesh", 5.0)
    fine = canvas.noise("mesh/fine", 1.8)
    canvas.paint(LYMPHOCYTES, 1.0 + 0.12 * fine + 0.1 * mesh, 0.85 + 0.20 * mesh + 0.12 * fine)
    loose = np.clip(0.86 + 0.16 * canvas.noise("loose", 28.0), 0.35, 1)
    cells = canvas.points("lymphocyte", 7.4, LYMPHOCYTES, 1.0, loose.astype(np.float32), 0.40)
    large = cells.draws[:, 4] < 0.07
    small = _round_nuclei(cells.keep(~large), 3.15)
    canvas.add_nuclei(small, nucleus(1.05, 0.22, 0.30))
    canvas.open(_halos(canvas, small, 0.28), LYMPHOCYTES)
    # Blasts and macrophages: large, pale, with a clear membrane.
    canvas.add_nuclei(_round_nuclei(cells.keep(large), 4.6), nucleus(0.35, 0.45, 0.25))


def scatter_lymphocytes(canvas: Canvas) -> None:
    """Stray lymphocytes: clusters in stroma, single ones in tumour and necrosis."""
    cluster = canvas.noise("infiltrate", 45.0)
    for tissue, base, slope in ((STROMA, 0.06, 0.14), (TUMOUR, 0.03, 0.03), (NECROSIS, 0.04, 0.06)):
        if not canvas.where(tissue).any():
            continue
        density = np.clip(base + slope * cluster, 0, 0.5).astype(np.float32)
        cells = canvas.points(f"stray{tissue}", 8.4, tissue, 2.0, density)
        nuclei = _round_nuclei(cells, 2.9)
        canvas.add_nuclei(nuclei, nucleus(1.1, 0.2, 0.3))
        canvas.open(_halos(canvas, nuclei, 0.35), tissue)
