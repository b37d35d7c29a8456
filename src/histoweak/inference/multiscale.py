"""Class maps of an image seen at several magnifications, on the grid of the plain ones."""

from typing import Literal, Unpack

import numpy as np
import numpy.typing as npt

from histoweak.config import StrictConfig
from histoweak.data.rescale import rescale_image
from histoweak.inference.config import Options, Scales
from histoweak.inference.model import TissueModel
from histoweak.inference.resize import interpolate

UInt8 = npt.NDArray[np.uint8]
Float = npt.NDArray[np.float32]


class ScalesConfig(StrictConfig):
    """Magnifications that an image is seen at, relative to the scale of the model.

    Maps are combined by their `mean`, or by their `max`, which lets the least certain magnification
    speak for all where it errs upwards. `align_corners` lays the outer cells of the maps on the
    outer pixels of the image, as some released code does, which moves them by up to half a stride.
    """

    factors: Scales = (0.8, 1.0, 1.2)
    combine: Literal["mean", "max"] = "mean"
    align_corners: bool = False


def scaled_maps(
    model: TissueModel,
    image: UInt8,
    mpp: float | None,
    config: ScalesConfig,
    **options: Unpack[Options],
) -> Float:
    """Class maps of a classifier, combined over magnifications.

    Args:
        model: a classifier.
        image: (H, W, 3) uint8.
        mpp: microns per pixel, as in `TissueModel.maps`.
        config: which magnifications.
        options: fields of `InferenceConfig`.

    Returns:
        (K, h, w) float32, the size of `TissueModel.maps` of the image.
    """
    scale = 1.0 if mpp is None or model.mpp is None else mpp / model.mpp
    working = rescale_image(image, scale)
    stride = model.stride
    cells = [-(-side // stride) for side in working.shape[:2]]
    seen = []
    for factor in config.factors:
        rescaled = rescale_image(working, factor)
        maps = model.maps(rescaled, None, **options)
        for axis in (1, 2):
            sides = (working.shape[axis - 1], rescaled.shape[axis - 1])
            where = cell_places(cells[axis - 1], stride, sides, config.align_corners)
            maps = interpolate(maps, axis, where)
        seen.append(maps)
    stack = np.stack(seen)
    combined: Float = stack.max(axis=0) if config.combine == "max" else stack.mean(axis=0)
    return combined


def cell_places(
    cells: int, stride: int, sides: tuple[int, int], align_corners: bool
) -> npt.NDArray[np.float64]:
    """Where the centres of the cells of the plain maps lie among those of a rescaled image.

    Args:
        cells: cells of the plain maps along the axis.
        stride: pixels per cell, in either image.
        sides: pixels of the image and of the rescaled image along the axis.
        align_corners: whether the outer cells stand for the outer pixels.

    Returns:
        (cells,) places, 0 being the centre of the first cell.
    """
    centres = (np.arange(cells) + 0.5) * stride
    side, rescaled = sides
    if not align_corners:
        return np.asarray(centres * (rescaled / side / stride) - 0.5, np.float64)
    last = -(-rescaled // stride) - 1
    return np.asarray((centres - 0.5) * last / max(1, cells * stride - 1), np.float64)
