"""Small connected components."""

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from histoweak.classes import IGNORE_INDEX


def drop_small(region: npt.NDArray[np.bool_], min_pixels: int) -> npt.NDArray[np.bool_]:
    """Remove 4-connected components of fewer than `min_pixels` pixels.

    Args:
        region: (H, W) bool.
        min_pixels: smallest size that stays.
    """
    if min_pixels <= 1:
        return region
    labelled, _ = ndimage.label(region)
    sizes = np.bincount(labelled.ravel())
    keep = sizes >= min_pixels
    keep[0] = False
    result: npt.NDArray[np.bool_] = keep[labelled]
    return result


def clean_mask(mask: npt.NDArray[np.uint8], min_pixels: int) -> npt.NDArray[np.uint8]:
    """Set components of one class smaller than `min_pixels` to 255.

    Args:
        mask: (H, W) uint8 class index, 255 = ignore.
        min_pixels: smallest size that stays.
    """
    cleaned = np.full_like(mask, IGNORE_INDEX)
    for value in np.unique(mask[mask != IGNORE_INDEX]):
        cleaned[drop_small(mask == value, min_pixels)] = value
    return cleaned
