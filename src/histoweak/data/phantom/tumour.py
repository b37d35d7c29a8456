"""Tumour epithelium: crowded pleomorphic nuclei in nests, some of them round gland lumina."""

import numpy as np

from histoweak.data.phantom.canvas import Canvas
from histoweak.data.phantom.cells import Ellipses, add_ellipses, dome, highest_ellipse, nucleus
from histoweak.data.phantom.noise import Plane, Points
from histoweak.data.phantom.regions import TUMOUR, distance_to_level

_APICAL = 7.0  # microns of cytoplasm between a lumen and the first nuclei
_PALISADE = 20.0  # microns from a lumen or a border within which cells stand upright


def _lumina(canvas: Canvas) -> tuple[Plane, Plane, Plane]:
    """Distance outward from the nearest gland lumen (negative inside it), and its direction."""
    style, depth = canvas.style, canvas.regions.depth
    field = canvas.noise("lumen", 27.0) + 0.12 * canvas.noise("lumen/edge", 8.0)
    threshold = 2.6 - 1.1 * style.glandular - 0.35 * canvas.noise("lumen/zones", 150.0)
    # Lumina stay well inside their nest, so that an epithelium surrounds them.
    threshold = threshold + 2.0 * np.clip((26 - depth) / 12, 0, 1)
    return distance_to_level((threshold - field).astype(np.float32), canvas.window.mpp)


def _nuclei(canvas: Canvas, cells: Points, upright: Plane, angle: Plane) -> Ellipses:
    """Oval, uneven nuclei; upright ones are longer and aligned."""
    at, draws, size = canvas.window.at, cells.draws, np.float32(canvas.style.nuclear_size)
    standing = at(upright, cells.y, cells.x)
    # A few nuclei are giant: the tail of the fourth power.
    radius = (3.6 + 1.3 * draws[:, 0] + 1.6 * draws[:, 1] ** 4) * size
    stretch = 1.05 + 0.35 * draws[:, 2] + 0.35 * standing
    free = draws[:, 3] * np.float32(np.pi)
    direction = np.where(standing > 0.4, at(angle, cells.y, cells.x) + 0.5 * (free - 1.57), free)
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
    window, regions = canvas.window, canvas.regions
    outward, lumen_y, lumen_x = _lumina(canvas)
    outward = np.minimum(outward, np.float32(90))
    by_lumen = outward < regions.depth
    near = np.minimum(np.abs(outward - _APICAL), regions.depth)
    upright = np.clip(1.3 - near / _PALISADE, 0, 1).astype(np.float32)
    direction = np.where(
        by_lumen,
        np.arctan2(lumen_y, lumen_x),
        np.arctan2(regions.normal_y, regions.normal_x),
    )

    spacing = 10.8 * canvas.style.nuclear_size
    cells = canvas.points("tumour", spacing, TUMOUR, 2.5, jitter=0.27)
    bodies = Ellipses.at(
        cells,
        np.full_like(cells.y, 0.75 * spacing),
        np.full_like(cells.y, 0.62 * spacing),
        window.at(direction, cells.y, cells.x),
        np.ones_like(cells.y),
    )
    body = highest_ellipse(window, bodies, dome, reach=1.0)
    granular = canvas.noise("tumour/granular", 1.8)
    patchy = canvas.noise("tumour/patchy", 9.0)
    canvas.paint(
        TUMOUR,
        1.15 + 0.40 * body + 0.14 * granular + 0.10 * patchy,
        0.55
        + 0.58 * body
        + 0.11 * granular
        + 0.10 * patchy
        + 0.25 * np.exp(-(((outward - 1.2) / 1.2) ** 2)),
    )

    cells = cells.keep(window.at(outward, cells.y, cells.x) > _APICAL * (0.5 + cells.draws[:, 7]))
    nuclei = _nuclei(canvas, cells, upright, direction.astype(np.float32))
    canvas.add_nuclei(nuclei, nucleus(0.72, 0.62, 0.22))
    _nucleoli(canvas, nuclei, cells.draws[:, ::-1])
    vacuoles = canvas.points("vacuole", 21.0, TUMOUR, 4.0, 0.12 + 0 * outward)
    size = 1.5 + 2.2 * vacuoles.draws[:, 0]
    holes = Ellipses.at(vacuoles, size, size * 0.8, size, np.full_like(size, 0.75), wobble=0.1)
    canvas.open(highest_ellipse(window, holes, nucleus(1.0, 0.0, 0.4)), TUMOUR)
    wisps = 0.14 * np.clip(canvas.noise("secretion", 11.0), 0, None)
    edge = np.clip(0.5 - outward / (1.5 * window.mpp), 0, 1)
    canvas.open((edge * (1 - wisps)).astype(np.float32), TUMOUR)
    _shrinkage(canvas)


def _shrinkage(canvas: Canvas) -> None:
    """A pale cleft along parts of a nest's border, where fixation pulled it off the stroma."""
    width = max(1.2, 1.2 * canvas.window.mpp)
    gap = np.exp(-((canvas.regions.depth / width) ** 2))
    gap *= np.clip(canvas.noise("cleft", 40.0) - 0.2, 0, 0.7)
    canvas.open(gap.astype(np.float32), TUMOUR)
