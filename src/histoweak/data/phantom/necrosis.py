"""Necrosis: smudged eosinophilic matter, ghosts of cells, shrunken nuclei and their debris."""

import numpy as np

from histoweak.data.phantom.canvas import Canvas
from histoweak.data.phantom.cells import Ellipses, dome, highest_ellipse, nucleus, ring
from histoweak.data.phantom.noise import Plane
from histoweak.data.phantom.regions import NECROSIS


def paint_necrosis(canvas: Canvas) -> None:
    """Paint the necrosis of a canvas."""
    window = canvas.window
    smudge = canvas.noise("smudge", 16.0)
    clot = canvas.noise("clot", 6.0)
    grain = canvas.noise("grain", 2.2)
    ghosts = canvas.points("ghost", 12.5, NECROSIS, 3.0, 0.7 + 0 * smudge)
    size = 3.6 + 1.6 * ghosts.draws[:, 0]
    angle = ghosts.draws[:, 1] * np.float32(3.14)
    shade = 0.35 + 0.65 * ghosts.draws[:, 2]
    nuclei = Ellipses.at(ghosts, size * 1.1, size * 0.85, angle, shade, wobble=0.12)
    outline = highest_ellipse(window, nuclei, ring)
    body = highest_ellipse(window, nuclei.scaled(1.9), dome, reach=1.0)
    canvas.paint(
        NECROSIS,
        1.0 + 0.16 * smudge + 0.10 * clot + 0.12 * grain + 0.9 * outline + 0.15 * body,
        0.85 + 0.15 * smudge + 0.16 * clot + 0.16 * grain + 0.35 * body,
    )
    holes = np.clip(-0.5 * clot - 0.35 * grain - 0.25 * smudge - 0.75, 0, 0.6)
    canvas.open(holes.astype(np.float32), NECROSIS)
    _debris(canvas, smudge)


def _debris(canvas: Canvas, smudge: Plane) -> None:
    """Pyknotic nuclei, and karyorrhectic fragments in clouds."""
    cloud = canvas.noise("debris", 18.0) + 0.3 * smudge
    density = np.clip(0.16 + 0.24 * cloud, 0.01, 0.9).astype(np.float32)
    bits = canvas.points("debris", 3.6, NECROSIS, 0.5, density, jitter=0.5)
    size = 0.45 + 0.95 * bits.draws[:, 0] ** 2
    stretch = 1 + 0.5 * bits.draws[:, 1]
    angle = bits.draws[:, 2] * np.float32(3.14)
    tone = 0.55 + 0.6 * bits.draws[:, 3]
    canvas.add_nuclei(
        Ellipses.at(bits, size * stretch, size / stretch, angle, tone, wobble=0.2),
        nucleus(1.05, 0.0, 0.5),
    )
    shrunken = canvas.points("pyknotic", 11.0, NECROSIS, 1.5, 0.6 * density)
    radius = 1.5 + 1.1 * shrunken.draws[:, 0]
    canvas.add_nuclei(
        Ellipses.at(
            shrunken,
            radius * 1.12,
            radius * 0.9,
            shrunken.draws[:, 1] * np.float32(3.14),
            0.75 + 0.5 * shrunken.draws[:, 2],
            wobble=0.15,
        ),
        nucleus(1.15, 0.0, 0.4),
    )
