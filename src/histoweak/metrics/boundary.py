"""Boundary F and boundary IoU over a whole data set, at a tolerance in microns.

Only boundaries between tissue classes count. Where the truth is ignored (white background) nobody
said where the tissue ends, and the frame of a patch is a cut, not a boundary of tissue; neither
makes a boundary. (The code of Cheng et al. counts the frame, since theirs are whole photographs.)
Distances are Euclidean, between the centres of pixels.
"""

import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt

from histoweak.classes import IGNORE_INDEX
from histoweak.metrics.ratio import FloatArray, mean_defined, ratio
from histoweak.metrics.tally import Tally

BoolArray = npt.NDArray[np.bool_]
SLACK = 1e-9  # distances such as 3 * 0.1 must not miss a tolerance of 0.3 by their last bit


class BoundaryTally(Tally):
    """Boundary lengths and areas near boundaries, summed over images.

    Args:
        n_classes: K, the number of classes.
        tolerance_um: distance in microns within which boundaries agree.
        ignore_index: mask value that is no class.

    Raises:
        ValueError: the tolerance is not positive.

    Example:
        >>> tally = BoundaryTally(2, tolerance_um=1.0)
        >>> truth = np.array([[0, 0, 0, 1, 1, 1]], np.uint8)
        >>> tally.update(np.array([[0, 0, 1, 1, 1, 1]], np.uint8), truth, mpp=1.0)
        >>> boundary_f(tally).tolist(), boundary_iou(tally).tolist()
        ([1.0, 1.0], [0.0, 0.0])
    """

    def __init__(
        self, n_classes: int, tolerance_um: float, ignore_index: int = IGNORE_INDEX
    ) -> None:
        if not tolerance_um > 0:
            raise ValueError(f"tolerance_um is {tolerance_um}, expected a positive length")
        self.n_classes, self.tolerance_um = n_classes, tolerance_um
        self.ignore_index = ignore_index
        self.tallies: FloatArray = np.zeros((n_classes, 6))
        """(K, 6): boundary of the truth that is met, all of it, the same two of the prediction
        (microns); intersection and union of the areas within the tolerance (square microns)."""

    def settings(self) -> tuple[int, float, int]:
        """The number of classes, the tolerance and the ignore index."""
        return self.n_classes, self.tolerance_um, self.ignore_index

    def update(self, pred: npt.NDArray[np.uint8], truth: npt.NDArray[np.uint8], mpp: float) -> None:
        """Count one image.

        Args:
            pred: (H, W) predicted class indices or the ignore index.
            truth: (H, W) true class indices or the ignore index.
            mpp: microns per pixel of both.

        Raises:
            ValueError: shapes differ, masks are not 2-D, or a pixel is larger than the tolerance,
                so that no boundary could be seen.
        """
        if pred.shape != truth.shape or truth.ndim != 2:
            raise ValueError(f"prediction has shape {pred.shape}, truth {truth.shape}, not (H, W)")
        if not 0 < mpp <= self.tolerance_um + SLACK:
            raise ValueError(
                f"mpp is {mpp}, expected more than 0 and at most the tolerance of "
                f"{self.tolerance_um} microns"
            )
        valid = truth != self.ignore_index
        reach = self.tolerance_um / mpp + SLACK
        for k in range(self.n_classes):
            true, called = (truth == k) & valid, (pred == k) & valid
            if true.any() or called.any():
                self.tallies[k] += _one_class(true, called, valid, reach, mpp)


def boundary_f(tally: BoundaryTally | FloatArray) -> FloatArray:
    """Boundary F of each class, (..., K), 0..1.

    Harmonic mean of the share of predicted boundary pixels that lie within the tolerance of the
    true boundary and of the share of true ones within the tolerance of the predicted. NaN where
    a class has no boundary in either.

    Source: Csurka et al., "What is a good evaluation measure for semantic segmentation?"
    (BMVC 2013); here over the data set, not averaged over images.
    """
    met_true, all_true, met_called, all_called = np.moveaxis(_array(tally)[..., :4], -1, 0)
    found, right = ratio(met_true, all_true, 0.0), ratio(met_called, all_called, 0.0)
    score = ratio(2 * found * right, found + right, 0.0)
    return np.where(all_true + all_called > 0, score, np.nan)


def boundary_iou(tally: BoundaryTally | FloatArray) -> FloatArray:
    """Boundary IoU of each class, (..., K), 0..1: IoU of what lies within the tolerance inside.

    NaN where a class has no boundary in either mask.

    Source: Cheng et al., "Boundary IoU: improving object-centric image segmentation
    evaluation" (CVPR 2021).
    """
    array = _array(tally)
    return ratio(array[..., 4], array[..., 5])


def mean_boundary_f(tally: BoundaryTally | FloatArray) -> FloatArray:
    """Mean boundary F, (...), over the classes that have a boundary."""
    return mean_defined(boundary_f(tally))


def mean_boundary_iou(tally: BoundaryTally | FloatArray) -> FloatArray:
    """Mean boundary IoU, (...), over the classes that have a boundary."""
    return mean_defined(boundary_iou(tally))


def _array(tally: BoundaryTally | FloatArray) -> FloatArray:
    return tally.tallies if isinstance(tally, BoundaryTally) else np.asarray(tally, np.float64)


def _one_class(
    true: BoolArray, called: BoolArray, valid: BoolArray, reach: float, mpp: float
) -> FloatArray:
    inside_true = _distance_to(valid & ~true)
    inside_called = _distance_to(valid & ~called)
    # At distance 1 lie the pixels that share an edge with another class.
    edge_true, edge_called = true & (inside_true <= 1), called & (inside_called <= 1)
    near_true, near_called = true & (inside_true <= reach), called & (inside_called <= reach)
    lengths = (
        (edge_true & (_distance_to(edge_called) <= reach)).sum(),
        edge_true.sum(),
        (edge_called & (_distance_to(edge_true) <= reach)).sum(),
        edge_called.sum(),
    )
    areas = (near_true & near_called).sum(), (near_true | near_called).sum()
    return np.array([n * mpp for n in lengths] + [n * mpp**2 for n in areas])


def _distance_to(target: BoolArray) -> FloatArray:
    """(H, W) pixels to the nearest pixel of the target; infinite if there is none."""
    if not target.any():
        return np.full(target.shape, np.inf)
    return np.asarray(distance_transform_edt(~target), np.float64)
