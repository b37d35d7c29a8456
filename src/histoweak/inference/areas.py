"""How much of each image every class covers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from histoweak.classes import IGNORE_INDEX, ClassSet

NO_CLASS = "no class"


@dataclass(frozen=True)
class Areas:
    """Pixels of each class in one image.

    Args:
        image: path of the image.
        name: name of its outputs.
        size: (height, width) in pixels.
        mpp: microns per pixel, if known.
        pixels: K + 1 counts, the last one of pixels without a class (white background).
    """

    image: str
    name: str
    size: tuple[int, int]
    mpp: float | None
    pixels: tuple[int, ...]


def count_pixels(mask: npt.NDArray[np.uint8], n_classes: int) -> tuple[int, ...]:
    """Pixels of each class and, last, of `IGNORE_INDEX`."""
    counts = np.bincount(mask.ravel(), minlength=256)
    return (*(int(v) for v in counts[:n_classes]), int(counts[IGNORE_INDEX]))


def area_columns(rows: Sequence[Areas], classes: ClassSet) -> dict[str, list[Any]]:
    """Columns of the table of areas, one row per image.

    `<class> share` is the share among the pixels that carry a class, `no class share` that of the
    other pixels among all; areas in square microns are empty where the scale is unknown.
    """
    columns: dict[str, list[Any]] = {
        "image": [row.image for row in rows],
        "mask": [f"masks/{row.name}.png" for row in rows],
        "height": [row.size[0] for row in rows],
        "width": [row.size[1] for row in rows],
        "mpp": [row.mpp for row in rows],
    }
    for index, name in enumerate((*classes.names, NO_CLASS)):
        columns[f"{name} pixels"] = [row.pixels[index] for row in rows]
        columns[f"{name} um2"] = [
            None if row.mpp is None else round(row.pixels[index] * row.mpp**2, 3) for row in rows
        ]
        columns[f"{name} share"] = [_share(row, index) for row in rows]
    return columns


def _share(row: Areas, index: int) -> float | None:
    whole = sum(row.pixels) if index == len(row.pixels) - 1 else sum(row.pixels[:-1])
    return round(row.pixels[index] / whole, 6) if whole else None
