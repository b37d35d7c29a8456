"""Capillaries with red cells, and red cells that have leaked out of them."""

import numpy as np

from histoweak.data.phantom.canvas import Canvas
from histoweak.data.phantom.cells import Ellipses, Profile, add_ellipses, highest_ellipse, nucleus
from histoweak.data.phantom.noise import Plane, Points
from histoweak.data.phantom.regions import LYMPHOCYTES, NECROSIS, STROMA


def _disc(radius: Plane) -> Plane:
    """A red cell: even, a little paler in the middle."""
    edge = np.clip((1.12 - radius) / np.float32(0.25), 0, 1)
    return np.asarray(edge * (0.8 + 0.2 * np.minimum(radius, 1)), np.float32)


def _red_cells(points: Points) -> Ellipses:
    size = 2.7 + 0.7 * points.draws[:, 0]
    tilt = 0.65 + 0.35 * points.draws[:, 1]
    tone = 0.75 + 0.5 * points.draws[:, 2]
    return Ellipses.at(points, size, size * tilt, points.draws[:, 3] * np.float32(3.14), tone)


def _endothelium(canvas: Canvas, vessels: Ellipses, draws: Plane) -> None:
    """Two to three flat nuclei on each wall."""
    for turn in range(3):
        phase = draws[:, 4] * np.float32(6.28) + np.float32(2.1 * turn)
        cos, sin = np.cos(vessels.angle), np.sin(vessels.angle)
        along, across = vessels.major * np.cos(phase), vessels.minor * np.sin(phase)
        count = along.size
        tangent = np.arctan2(vessels.minor * np.cos(phase), -vessels.major * np.sin(phase))
        wall = Ellipses(
            vessels.y + along * sin + across * cos,
            vessels.x + along * cos - across * sin,
            np.full(count, 4.2, np.float32),
            np.full(count, 1.4, np.float32),
            vessels.angle + tangent,
            np.full(count, 1.0, np.float32),
            np.zeros((count, 2), np.float32),
        )
        canvas.add_nuclei(wall, nucleus(1.0, 0.2, 0.3))


def paint_vessels(canvas: Canvas) -> None:
    """Paint the capillaries and red cells of a canvas."""
    leak: Profile = _disc
    for tissue, share in ((STROMA, 0.30), (LYMPHOCYTES, 0.16)):
        if not canvas.where(tissue).any():
            continue
        sites = canvas.points(f"vessel{tissue}", 46.0, tissue, 10.0, share + 0 * canvas.clear)
        radius = 4.0 + 4.5 * sites.draws[:, 0] ** 2
        vessels = Ellipses.at(
            sites,
            radius * (1.1 + 0.9 * sites.draws[:, 1]),
            radius * 0.85,
            sites.draws[:, 2] * np.float32(3.14),
            np.ones_like(radius),
            wobble=0.1,
        )
        lumen = highest_ellipse(canvas.window, vessels, nucleus(1.0, 0.0, 0.15))
        outside = 1 - highest_ellipse(canvas.window, vessels.scaled(1.1), nucleus(1.0, 0.0, 0.1))
        canvas.nuclei[...] *= outside
        canvas.open(0.92 * lumen, tissue)
        _endothelium(canvas, vessels, sites.draws)
        inside = np.clip(lumen * 1.5 - 0.5, 0, 1) * np.float32(0.75)
        packed = canvas.points(f"red{tissue}", 5.6, tissue, 4.0, inside)
        add_ellipses(canvas.blood, canvas.window, _red_cells(packed), leak)
    spill = np.clip(0.35 * (canvas.noise("bleeding", 38.0) - 1.75), 0, 0.5).astype(np.float32)
    for tissue in (STROMA, NECROSIS):
        if canvas.where(tissue).any():
            leaked = canvas.points(f"leaked{tissue}", 6.0, tissue, 2.0, spill)
            add_ellipses(canvas.blood, canvas.window, _red_cells(leaked), leak)
