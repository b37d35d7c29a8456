"""Image-averaged mIoU, a measure of its own that must not be taken for the data-set mIoU."""

import math

import numpy as np
import numpy.typing as npt

from histoweak.classes import IGNORE_INDEX
from histoweak.metrics.confusion import ConfusionMatrix
from histoweak.metrics.scores import miou_present


class ImageAveragedMIoU:
    """Mean over images of the mean IoU over the classes present in each image.

    A small or rare class weighs as much as its images are many, not as its pixels are; the figure
    can lie far from `miou_present` of the data set on either side. It is offered for comparison
    with papers that report it.

    Args:
        n_classes: K, the number of classes.
        ignore_index: mask value that is no class; such truth is not scored.

    Example:
        >>> half = ImageAveragedMIoU(2)
        >>> half.update(np.zeros((1, 4), np.uint8), np.array([[0, 0, 1, 1]], np.uint8))
        >>> half.update(np.zeros((1, 4), np.uint8), np.zeros((1, 4), np.uint8))
        >>> half.value
        0.625
    """

    def __init__(self, n_classes: int, ignore_index: int = IGNORE_INDEX) -> None:
        self.n_classes, self.ignore_index = n_classes, ignore_index
        self.images = 0
        """Images with at least one scored pixel; the others are left out."""
        self._sum = 0.0

    def update(self, pred: npt.NDArray[np.uint8], truth: npt.NDArray[np.uint8]) -> None:
        """Count one image: (H, W) uint8 masks; errors as for `ConfusionMatrix.update`."""
        one = ConfusionMatrix(self.n_classes, self.ignore_index)
        one.update(pred, truth)
        value = float(miou_present(one))
        if not math.isnan(value):
            self._sum += value
            self.images += 1

    @property
    def value(self) -> float:
        """The mean so far, 0..1; NaN before the first scored image."""
        return self._sum / self.images if self.images else math.nan
