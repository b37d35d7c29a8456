"""LabelMap: a map of tissue classes that knows its names, colours and scale."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from histoweak.classes import IGNORE_INDEX, ClassSet


@dataclass(frozen=True)
class LabelMap:
    """A pixel map of classes with what is needed to draw, measure and export it.

    Args:
        array: (H, W) uint8, class indices; `IGNORE_INDEX` where no class is stated.
        classes: the classes that the indices stand for.
        mpp: microns per pixel of `array`, or None where unknown.
        origin: (x, y) of the upper left pixel in the frame it was cut from, in pixels of `array`.

    Raises:
        ValueError: the array is not 2-D uint8 or holds a value that is no class.
    """

    array: npt.NDArray[np.uint8]
    classes: ClassSet
    mpp: float | None = None
    origin: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        if self.array.ndim != 2 or self.array.dtype != np.uint8:
            raise ValueError(f"expected (H, W) uint8, got {self.array.shape} {self.array.dtype}")
        counts = np.bincount(self.array.ravel(), minlength=256)
        unknown = np.flatnonzero(counts[len(self.classes) : IGNORE_INDEX]) + len(self.classes)
        if unknown.size:
            raise ValueError(f"values {unknown.tolist()} are no classes of {self.classes.names}")

    def areas(self) -> dict[str, int]:
        """Pixels of each class."""
        counts = np.bincount(self.array.ravel(), minlength=256)
        return {name: int(counts[i]) for i, name in enumerate(self.classes.names)}

    def colored(self) -> npt.NDArray[np.uint8]:
        """(H, W, 3) uint8 in the colours of the classes; ignored pixels are white."""
        table = np.full((256, 3), 255, np.uint8)
        table[: len(self.classes)] = self.classes.colors
        return table[self.array]
