"""Render fields of synthetic H&E of any size, tile by tile, without seams."""

import numpy as np
import numpy.typing as npt

from histoweak.classes import IGNORE_INDEX
from histoweak.data.phantom.canvas import Canvas
from histoweak.data.phantom.lymphocytes import paint_lymphocytes, scatter_lymphocytes
from histoweak.data.phantom.necrosis import paint_necrosis
from histoweak.data.phantom.noise import Window, subkey
from histoweak.data.phantom.regions import Layout, partition
from histoweak.data.phantom.stain import PatientStyle, beer_lambert, scan
from histoweak.data.phantom.stroma import paint_stroma
from histoweak.data.phantom.tumour import paint_tumour
from histoweak.data.phantom.vessels import paint_vessels

TILE = 512
"""Side in pixels of the squares that a large field is rendered in."""

_HALO_UM = 20.0  # nothing drawn reaches farther: the widest vessel, plus the blur
_PAINTERS = (paint_tumour, paint_stroma, paint_lymphocytes, paint_necrosis)


def concentrations(canvas: Canvas) -> npt.NDArray[np.float32]:
    """Merge what was painted into (3, h, w) concentrations: haematoxylin, eosin, blood."""
    chromatin = 1 + 0.26 * canvas.noise("chromatin", 1.3) + 0.14 * canvas.noise("clumps", 2.6)
    # Overlapping nuclei absorb more, but a section is thin: the sum levels off.
    nuclei = 1.75 * np.tanh(canvas.nuclei / 1.5) * np.maximum(chromatin, 0.35)
    covered = np.minimum(canvas.nuclei, 1)
    kept = 1 - canvas.clear
    tissue = canvas.regions.mask != IGNORE_INDEX
    strength_h, strength_e = canvas.style.strength
    merged = np.stack(
        [
            (canvas.matter[0] * kept + nuclei) * strength_h,
            canvas.matter[1] * kept * (1 - 0.35 * covered) * strength_e,
            canvas.blood,
        ]
    )
    return np.where(tissue, merged, 0).astype(np.float32)


def _render_tile(
    window: Window, key: int, style: PatientStyle, layout: Layout
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    halo = int(np.ceil(_HALO_UM / window.mpp)) + 1
    wide = window.grown(halo)
    canvas = Canvas.blank(wide, key, style, partition(wide, subkey(key, "regions"), layout))
    present = np.unique(canvas.regions.mask)
    for tissue, painter in enumerate(_PAINTERS):
        if tissue in present:
            painter(canvas)
    scatter_lymphocytes(canvas)
    paint_vessels(canvas)
    light = beer_lambert(concentrations(canvas), style.stains, style.white)
    inner = slice(halo, halo + window.height), slice(halo, halo + window.width)
    return scan(light, window, key, style, halo), canvas.regions.mask[inner]


def render_field(
    height: int,
    width: int,
    mpp: float,
    seed: int,
    patient_style: PatientStyle,
    layout: Layout,
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Render one field.

    Memory beyond the result does not grow with the field. Tiles join without seams because
    everything drawn is a function of the seed and the place.

    Args:
        height: rows, pixels.
        width: columns, pixels.
        mpp: microns per pixel, 0.2 to 2.
        seed: decides everything but the patient's style.
        patient_style: stains, brightness and habits of the patient.
        layout: the tissues and their arrangement.

    Returns:
        (H, W, 3) uint8 RGB, and (H, W) uint8 mask: index into `TISSUES`, 255 = white background.

    Raises:
        ValueError: a size below 1, or microns per pixel out of range.
    """
    if min(height, width) < 1 or not 0.2 <= mpp <= 2:
        raise ValueError(f"cannot render {height}x{width} pixels at {mpp} microns per pixel")
    rgb = np.empty((height, width, 3), np.uint8)
    mask = np.empty((height, width), np.uint8)
    for y in range(0, height, TILE):
        for x in range(0, width, TILE):
            window = Window(y, x, min(TILE, height - y), min(TILE, width - x), mpp)
            place = slice(y, y + window.height), slice(x, x + window.width)
            rgb[place], mask[place] = _render_tile(window, seed, patient_style, layout)
    return rgb, mask
