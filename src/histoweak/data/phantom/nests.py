"""How tumour epithelium is built: nests parted by thin septa, and gland lumina inside them."""

from dataclasses import dataclass

import numpy as np

from histoweak.data.phantom.canvas import Canvas
from histoweak.data.phantom.noise import Plane
from histoweak.data.phantom.regions import distance_to_level

APICAL = 7.0
"""Microns of cytoplasm between a lumen and the first nuclei."""

_PALISADE = 20.0  # microns from a lumen or an edge within which cells stand upright


@dataclass(frozen=True)
class Nests:
    """The architecture of the tumour in one window.

    Args:
        lumen: (h, w) microns outward from the nearest lumen, negative inside one.
        septum: (h, w) microns from the middle of the nearest septum.
        upright: (h, w) 0 to 1, how far cells stand upright on the nearest lumen or edge.
        direction: (h, w) radians, the long axis of upright cells.
    """

    lumen: Plane
    septum: Plane
    upright: Plane
    direction: Plane


def _lumina(canvas: Canvas, room: Plane) -> tuple[Plane, Plane, Plane]:
    field = canvas.noise("lumen", 27.0) + 0.12 * canvas.noise("lumen/edge", 8.0)
    threshold = 2.6 - 1.1 * canvas.style.glandular - 0.35 * canvas.noise("lumen/zones", 150.0)
    # Lumina stay well inside their nest, so that an epithelium surrounds them.
    threshold = threshold + 2.0 * np.clip((24 - room) / 12, 0, 1)
    return distance_to_level((threshold - field).astype(np.float32), canvas.window.mpp)


def _septa(canvas: Canvas) -> tuple[Plane, Plane, Plane]:
    """Septa are the zero level of a smooth field; where `fade` grows they end."""
    field = canvas.noise("septum", 62.0) + 0.15 * canvas.noise("septum/wave", 17.0)
    distance, away_y, away_x = distance_to_level(field, canvas.window.mpp)
    fade = canvas.noise("septum/zones", 130.0) + np.float32(1.8 * canvas.style.glandular - 1.1)
    side = np.sign(distance)
    return np.abs(distance) + 9 * np.clip(fade, 0, 4), away_y * side, away_x * side


def build_nests(canvas: Canvas) -> Nests:
    """Decide on the architecture; lumina and septa narrower than a cell belong to the tumour."""
    regions = canvas.regions
    septum, septum_y, septum_x = _septa(canvas)
    room = np.minimum(septum, regions.depth)
    lumen, lumen_y, lumen_x = _lumina(canvas, room)
    lumen = np.minimum(lumen, np.float32(90))
    choices = [lumen < room, septum < regions.depth]
    by_row = np.select(choices, [lumen_y, septum_y], regions.normal_y)
    by_column = np.select(choices, [lumen_x, septum_x], regions.normal_x)
    near = np.minimum(np.abs(lumen - APICAL), room)
    return Nests(
        lumen,
        septum,
        np.clip(1.3 - near / _PALISADE, 0, 1).astype(np.float32),
        np.arctan2(by_row, by_column).astype(np.float32),
    )
