"""Masks as indexed PNG files, and masks and scores drawn over their image."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from histoweak.atomic import replacing
from histoweak.classes import IGNORE_INDEX, ClassSet
from histoweak.labelmap import LabelMap

Pixels = npt.NDArray[np.uint8]

# Dark blue, blue, teal, green, yellow: lightness climbs evenly from low to high scores, so that
# the order survives colour blindness and grey printing. The channels between are interpolated.
SCORE_ANCHORS = ((48, 18, 96), (49, 84, 148), (32, 144, 141), (100, 200, 96), (253, 231, 37))


def write_index_png(path: Path, array: Pixels, classes: ClassSet) -> None:
    """Write a mask as a PNG of class indices whose palette holds the classes' colours.

    The file appears whole or not at all.

    Args:
        path: the file to write; its folder is made where it is missing.
        array: (H, W) uint8 class indices, 255 = ignore (shown white).
        classes: gives the palette.

    Raises:
        ValueError: the array is not (H, W) uint8 or holds a value that is no class.
        OutputError: the file cannot be written.
    """
    LabelMap(array, classes)  # refuses what is no mask
    picture = Image.fromarray(np.ascontiguousarray(array))
    picture.putpalette(_palette(classes).tobytes())
    with replacing(path) as working:
        picture.save(working, format="PNG", optimize=True)


def overlay(image: Pixels, mask: Pixels, classes: ClassSet, alpha: float = 0.45) -> Pixels:
    """Draw a mask over its image: tinted regions with an outline in the full class colour.

    Ignored pixels show the bare image. A mask of another size is resized by nearest neighbour.

    Args:
        image: (H, W, 3) uint8.
        mask: (h, w) uint8 class indices, 255 = ignore.
        classes: gives the colours.
        alpha: weight of the tint, 0 (image only) to 1 (colour only).

    Returns:
        (H, W, 3) uint8.
    """
    if mask.shape != image.shape[:2]:
        size = (image.shape[1], image.shape[0])
        mask = np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
    colors = LabelMap(mask, classes).colored().astype(np.float32)
    weight = np.where(_outline(mask), 1.0, alpha)
    weight[mask == IGNORE_INDEX] = 0.0
    return _blend(image, colors, weight)


def heatmap(image: Pixels, scores: npt.NDArray[np.floating], alpha: float = 0.65) -> Pixels:
    """Draw the scores of one class over the image, from dark blue (0) to yellow (1).

    Args:
        image: (H, W, 3) uint8.
        scores: (h, w) in [0, 1], resized bilinearly to the image; values outside are clipped,
            values that are no number show the bare image.
        alpha: weight of the colours, 0 to 1.

    Returns:
        (H, W, 3) uint8.
    """
    known = np.isfinite(scores)
    filled = np.where(known, scores, 0).clip(0, 1).astype(np.float32)
    fine = _resize_bilinear(filled, image.shape[:2])
    weight = alpha * _resize_bilinear(known.astype(np.float32), image.shape[:2])
    return _blend(image, score_colors(fine), weight)


def score_colors(scores: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    """Colours (..., 3) in 0..255 of scores (...) in [0, 1]."""
    at = np.linspace(0, 1, len(SCORE_ANCHORS))
    anchors = np.asarray(SCORE_ANCHORS, np.float32)
    channels = [np.interp(scores, at, anchors[:, c]) for c in range(3)]
    return np.stack(channels, axis=-1).astype(np.float32)


def _palette(classes: ClassSet) -> Pixels:
    palette = np.zeros((256, 3), np.uint8)
    palette[: len(classes)] = classes.colors
    palette[IGNORE_INDEX] = 255
    return palette


def _outline(mask: Pixels) -> npt.NDArray[np.bool_]:
    """(H, W) whether a pixel touches, by an edge, a pixel of another value."""
    edge = np.zeros(mask.shape, bool)
    down, right = mask[1:] != mask[:-1], mask[:, 1:] != mask[:, :-1]
    edge[1:] |= down
    edge[:-1] |= down
    edge[:, 1:] |= right
    edge[:, :-1] |= right
    return edge


def _resize_bilinear(
    field: npt.NDArray[np.float32], size: tuple[int, ...]
) -> npt.NDArray[np.float32]:
    height, width = size
    resized = Image.fromarray(field).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(resized)


def _blend(
    image: Pixels, colors: npt.NDArray[np.float32], weight: npt.NDArray[np.floating]
) -> Pixels:
    weight = weight[..., None].astype(np.float32)
    mixed = image.astype(np.float32) * (1 - weight) + colors * weight
    return np.asarray(mixed.round(), np.uint8)
