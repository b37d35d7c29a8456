"""Turn masks as distributed into index masks, once, beside the manifest."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from histoweak.classes import IGNORE_INDEX, ClassSet
from histoweak.data.images import read_mask
from histoweak.errors import ImageError
from histoweak.export.png import write_index_png

_ANY = 255  # classes for read_mask, so that every value of a byte passes


def map_values(
    mask: npt.NDArray[np.uint8], values: Mapping[int, int], where: Path
) -> npt.NDArray[np.uint8]:
    """Replace mask values by class indices.

    Args:
        mask: (H, W) uint8 as distributed.
        values: class index or 255 of every value that may occur.
        where: the file, for messages.

    Returns:
        (H, W) uint8 class indices, 255 = ignore.

    Raises:
        ImageError: a value that `values` does not know.
    """
    present = np.flatnonzero(np.bincount(mask.ravel(), minlength=256))
    unknown = [int(value) for value in present if int(value) not in values]
    if unknown:
        raise ImageError(
            f"mask has the unknown value {unknown[0]}",
            where=where,
            expected=f"one of {sorted(values)}" if len(values) < 30 else "an annotation",
            remedy="See whether the mask is of this data set",
        )
    table = np.full(256, IGNORE_INDEX, np.uint8)
    table[list(values)] = list(values.values())
    return table[mask]


def convert_mask(
    source: Path,
    target: Path,
    classes: ClassSet,
    values: Mapping[int, int],
    size: tuple[int, int],
    background: Path | None = None,
) -> npt.NDArray[np.uint8]:
    """Write a mask as class indices; a target newer than its sources is taken as it is.

    Args:
        source: mask as distributed.
        target: PNG to write.
        classes: gives the palette.
        values: class index or 255 of every value that may occur.
        size: (height, width) of the image.
        background: image whose pixels other than 0 are ignored.

    Returns:
        (H, W) uint8, what the target holds.

    Raises:
        ImageError: a mask cannot be read, has another size or unknown values.
        OutputError: the target cannot be written.
    """
    if _is_newer(target, source, background):
        return read_mask(target, len(classes), size)
    mask = map_values(read_mask(source, _ANY, size), values, source)
    if background is not None:
        mask[read_mask(background, _ANY, size) != 0] = IGNORE_INDEX
    write_index_png(target, mask, classes)
    return mask


def _is_newer(target: Path, *sources: Path | None) -> bool:
    try:
        made = target.stat().st_mtime_ns
        return all(made > path.stat().st_mtime_ns for path in sources if path is not None)
    except OSError:
        return False
