"""Tumour epithelium: crowded pleomorphic nuclei in nests, some of them around gland lumina."""

import numpy as np

from histoweak.data.phantom.canvas import Canvas
from histoweak.data.phantom.cells import Ellipses, add_ellipses, dome, highest_ellipse, nucleus
from histoweak.data.phantom.nests import APICAL, Nests, build_nests
from histoweak.data.phantom.noise import Plane, Points
from histoweak.data.phantom.regions import TUMOUR


def _nuclei(canvas: Canvas, cells: Points, nests: Nests) -> Ellipses:
    """Oval, uneven nuclei; upright ones are longer and aligned."""
    at, draws, size = canvas.window.at, cells.draws, np.float32(canvas.style.nuclear_size)
    standing = at(nests.upright, cells.y, cells.x)
    # A few nuclei are giant: the tail of the fourth power.
    radius = (3.6 + 1.3 * draws[:, 0] + 1.6 * draws[:, 1] ** 4) * size
    stretch = 1.05 + 0.35 * draws[:, 2] + 0.35 * standing
    free = draws[:, 3] * np.float32(np.pi)
    direction = np.where(
        standing > 0.4, at(nests.direction, cells.y, cells.x) + 0.5 * (free - 1.57), free
    )
    tone = (0.55 + 0.70 * draws[:, 4] ** 1.5) * canvas.style.nuclear_tone
    root = np.sqrt(stretch)
    return Ellipses.at(cells, radius * root, radius / root, direction, tone, wobble=0.08)


def _nucleoli(canvas: Canvas, nuclei: Ellipses, draws: Plane) -> None:
    """One dark nucleolus in about half of the nuclei, off centre."""
    has = draws[:, 0] < 0.55
    turn = draws[has, 1] * np.float32(2 * np.pi)
    off = nuclei.minor[has] * 0.4 * draws[has, 2]
    size = 0.65 + 0.55 * draws[has, 3]
    spots = Ellipses(
        nuclei.y[has] + off * np.sin(turn),
        nuclei.x[has] + off * np.cos(turn),
        size,
        size,
        turn,
        np.ones_like(size),
        np.zeros((size.size, 2), np.float32),
    )
    add_ellipses(canvas.nuclei, canvas.window, spots, nucleus(0.9, 0.0, 0.5), reach=1.3)


def paint_tumour(canvas: Canvas) -> None:
    """Paint the tumour of a canvas."""
    window, nests = canvas.window, build_nests(canvas)
    spacing = 10.8 * canvas.style.nuclear_size
    cells = canvas.points("tumour", spacing, TUMOUR, 2.5, jitter=0.27)
    _cytoplasm(canvas, cells, nests, spacing)
    lumen = window.at(nests.lumen, cells.y, cells.x)
    apart = window.at(nests.septum, cells.y, cells.x) > 3.0
    cells = cells.keep(apart & (lumen > APICAL * (0.5 + cells.draws[:, 7])))
    nuclei = _nuclei(canvas, cells, nests)
    canvas.add_nuclei(nuclei, nucleus(0.72, 0.62, 0.22))
    _nucleoli(canvas, nuclei, cells.draws[:, ::-1])
    _septal_nuclei(canvas, nests)
    _openings(canvas, nests)


def _cytoplasm(canvas: Canvas, cells: Points, nests: Nests, spacing: float) -> None:
    """Granular cytoplasm, densest in the middle of each cell, and the pink line of a lumen."""
    window = canvas.window
    bodies = Ellipses.at(
        cells,
        np.full_like(cells.y, 0.75 * spacing),
        np.full_like(cells.y, 0.62 * spacing),
        window.at(nests.direction, cells.y, cells.x),
        np.ones_like(cells.y),
    )
    body = highest_ellipse(window, bodies, dome, reach=1.0)
    grain = 0.11 * canvas.noise("tumour/granular", 1.8) + 0.10 * canvas.noise("tumour/patchy", 9.0)
    brush = np.exp(-(((nests.lumen - 1.2) / 1.2) ** 2))
    collagen = np.clip(1.6 - nests.septum / 1.8, 0, 1)
    haematoxylin = (1.15 + 0.40 * body + 1.2 * grain) * (1 - 0.35 * collagen)
    eosin = 0.55 + 0.58 * body + grain + 0.25 * brush + 0.30 * collagen
    canvas.paint(TUMOUR, haematoxylin, eosin)


def _septal_nuclei(canvas: Canvas, nests: Nests) -> None:
    """Flat nuclei of fibroblasts and capillaries along the septa."""
    sites = canvas.points("septal", 7.5, TUMOUR, 2.0, jitter=0.45)
    on = canvas.window.at(nests.septum, sites.y, sites.x) < 1.8
    sites = sites.keep(on & (sites.draws[:, 0] < 0.6))
    along = canvas.window.at(nests.direction, sites.y, sites.x) + np.float32(np.pi / 2)
    major = 3.6 + 2.4 * sites.draws[:, 1]
    minor = 1.0 + 0.5 * sites.draws[:, 2]
    shapes = Ellipses.at(sites, major, minor, along, np.full_like(major, 0.95), wobble=0.1)
    canvas.add_nuclei(shapes, nucleus(1.0, 0.2, 0.35))


def _openings(canvas: Canvas, nests: Nests) -> None:
    """Lumina with wisps of secretion, vacuoles, and clefts along edges and septa."""
    window = canvas.window
    vacuoles = canvas.points("vacuole", 21.0, TUMOUR, 4.0)
    vacuoles = vacuoles.keep(vacuoles.draws[:, 1] < 0.12)
    size = 1.5 + 2.2 * vacuoles.draws[:, 0]
    holes = Ellipses.at(vacuoles, size, size * 0.8, size, np.full_like(size, 0.75), wobble=0.1)
    canvas.open(highest_ellipse(window, holes, nucleus(1.0, 0.0, 0.4)), TUMOUR)
    wisps = 0.14 * np.clip(canvas.noise("secretion", 11.0), 0, None)
    inside = np.clip(0.5 - nests.lumen / (1.5 * window.mpp), 0, 1)
    canvas.open((inside * (1 - wisps)).astype(np.float32), TUMOUR)
    # Fixation shrinks nests, which leaves pale clefts along parts of their edges.
    width = max(1.2, 1.2 * window.mpp)
    edge = np.minimum(canvas.regions.depth, np.abs(nests.septum - 2.6))
    gap = np.exp(-((edge / width) ** 2)) * np.clip(canvas.noise("cleft", 40.0) - 0.2, 0, 0.7)
    canvas.open(gap.astype(np.float32), TUMOUR)
