"""Which tissue is where: a smooth random partition, known exactly."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from histoweak.classes import IGNORE_INDEX
from histoweak.data.phantom.noise import Plane, Window, smooth_noise, subkey

TISSUES = ("tumour", "stroma", "lymphocytes", "necrosis")
TUMOUR, STROMA, LYMPHOCYTES, NECROSIS = range(4)


@dataclass(frozen=True)
class Layout:
    """What a field is made of.

    Args:
        tissues: indices into `TISSUES` of the tissues that occur.
        bias: one number per tissue; 0.5 more takes visibly more of the area.
        white: bias of the white background, or None for none.
        region: microns; half the width of a typical region.
        frame: (height, width) of the field in microns to surround it with white, or None.
    """

    tissues: tuple[int, ...]
    bias: tuple[float, ...]
    white: float | None
    region: float
    frame: tuple[float, float] | None = None

    def with_tissue(self, tissue: int) -> "Layout":
        """The same layout with one tissue more, if it is missing."""
        if tissue in self.tissues:
            return self
        return replace(self, tissues=(*self.tissues, tissue), bias=(*self.bias, 0.0))


@dataclass(frozen=True)
class Regions:
    """A partition of one window.

    Args:
        mask: (h, w) uint8 index into `TISSUES`; 255 is white background.
        depth: (h, w) microns to the nearest border, about right near borders, at most 60.
        normal_y: (h, w) unit vector that points away from the nearest border, row part.
        normal_x: (h, w) column part.
    """

    mask: npt.NDArray[np.uint8]
    depth: Plane
    normal_y: Plane
    normal_x: Plane


def distance_to_level(field: Plane, mpp: float) -> tuple[Plane, Plane, Plane]:
    """First-order distance to the zero level of a smooth field, and its unit gradient.

    Args:
        field: (h, w).
        mpp: microns per pixel.

    Returns:
        signed distance in microns, gradient's row part, gradient's column part.
    """
    slope_y, slope_x = (np.asarray(g, np.float32) / np.float32(mpp) for g in np.gradient(field))
    steepness = np.sqrt(slope_y**2 + slope_x**2) + np.float32(1e-6)
    return field / steepness, slope_y / steepness, slope_x / steepness


def _tissue_field(window: Window, key: int, region: float, name: str) -> Plane:
    coarse = smooth_noise(window, subkey(key, f"{name}/coarse"), region)
    fine = smooth_noise(window, subkey(key, f"{name}/fine"), region * 0.4)
    return coarse + np.float32(0.25) * fine


def _white_field(window: Window, key: int, layout: Layout) -> Plane:
    """High where there is no tissue; its border is a little ragged, as cut tissue is."""
    field = _tissue_field(window, key, 1.3 * layout.region, "white")
    field += np.float32(0.12) * smooth_noise(window, subkey(key, "ragged"), 7.0)
    field += np.float32(layout.white or 0.0)
    if layout.frame is not None:
        height, width = layout.frame
        radius = np.hypot(2 * window.ys[:, None] / height - 1, 2 * window.xs[None, :] / width - 1)
        lobes = smooth_noise(window, subkey(key, "outline"), min(height, width) / 3)
        radius += np.float32(0.05) * lobes
        field += 9 * np.clip((radius - 0.75) / 0.2, 0, 1.5) - 1.5
    return field


def partition(window: Window, key: int, layout: Layout) -> Regions:
    """Divide a window among the tissues of a layout.

    Each tissue has a smooth random field, and the highest field wins, so that borders are
    smooth and three regions can meet in a point.
    """
    if len(layout.tissues) == 1 and layout.white is None:
        shape = (window.height, window.width)
        mask = np.full(shape, layout.tissues[0], np.uint8)
        deep, none = np.full(shape, 60, np.float32), np.zeros(shape, np.float32)
        return Regions(mask, deep, none, none)
    fields = [
        _tissue_field(window, key, layout.region, TISSUES[tissue]) + np.float32(bias)
        for tissue, bias in zip(layout.tissues, layout.bias, strict=True)
    ]
    values = list(layout.tissues)
    if layout.white is not None:
        fields.append(_white_field(window, key, layout))
        values.append(IGNORE_INDEX)
    stack = np.stack(fields)
    mask = np.array(values, np.uint8)[np.argmax(stack, axis=0)]
    ordered = np.partition(stack, -2, axis=0)
    depth, normal_y, normal_x = distance_to_level(ordered[-1] - ordered[-2], window.mpp)
    return Regions(mask, np.minimum(depth, np.float32(60)), normal_y, normal_x)
