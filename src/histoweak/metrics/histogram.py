"""Ranking measures of pixel (or patch) scores from histograms, in constant memory.

Scores in [0, 1] are counted in `bins` equal bins, apart for true and false pixels. Thresholds are
the lower edges of the bins: a pixel is called positive where its score is at least the edge. The
AUROC differs from the exact one by at most half the share of (true, false) pairs that fall into
one bin; with 4096 bins and scores that spread over the range this is far below 1e-3. Scores that
crowd within 1/4096 of 0 or 1 are treated as ties.

All functions take a `ScoreHistogram` or its tallies with any leading shape (..., 2, bins), row 1
being the true pixels, and return NaN where the measure has no meaning.
"""

import numpy as np
import numpy.typing as npt

from histoweak.metrics.ratio import FloatArray, ratio
from histoweak.metrics.tally import Tally


class ScoreHistogram(Tally):
    """Scores of true and of false items, counted for K classes.

    Args:
        n_classes: K.
        bins: resolution of the scores, a power of two so that edges are exact in floating point.

    Raises:
        ValueError: `n_classes` < 1 or `bins` is no power of two.

    Example:
        >>> h = ScoreHistogram(1)
        >>> h.update(np.array([[0.9, 0.8, 0.3, 0.1]]), np.array([[True, False, True, False]]))
        >>> auroc(h).tolist()
        [0.75]
    """

    def __init__(self, n_classes: int, bins: int = 4096) -> None:
        if n_classes < 1 or bins < 2 or bins & (bins - 1):
            raise ValueError(f"{n_classes} classes and {bins} bins: expected >= 1, a power of two")
        self.n_classes, self.bins = n_classes, bins
        self.tallies: npt.NDArray[np.int64] = np.zeros((n_classes, 2, bins), np.int64)
        """(K, 2, bins): counts of false items, then of true ones."""

    def settings(self) -> tuple[int, int]:
        """The number of classes and of bins."""
        return self.n_classes, self.bins

    def update(
        self,
        scores: npt.NDArray[np.floating],
        truth: npt.NDArray[np.bool_],
        valid: npt.NDArray[np.bool_] | None = None,
    ) -> None:
        """Count the items of one image, or of one batch of patches.

        Args:
            scores: (K, ...) in 0..1.
            truth: bool of the same shape, True where the item belongs to the class.
            valid: bool of shape (...), False where an item is not scored; all are by default.

        Raises:
            ValueError: shapes do not fit, or a score lies outside 0..1 or is NaN.
        """
        if scores.shape != truth.shape or scores.shape[:1] != (self.n_classes,):
            raise ValueError(
                f"scores have shape {scores.shape} and truth {truth.shape}, "
                f"expected {self.n_classes} classes first in both"
            )
        if valid is not None and valid.shape != scores.shape[1:]:
            raise ValueError(f"valid has shape {valid.shape}, expected {scores.shape[1:]}")
        if not ((scores >= 0) & (scores <= 1)).all():
            raise ValueError("scores outside 0..1 (or NaN): scale them first")
        for k in range(self.n_classes):
            s, t = (scores[k], truth[k]) if valid is None else (scores[k][valid], truth[k][valid])
            cell = np.minimum((s.ravel() * self.bins).astype(np.int32), self.bins - 1)
            cell += t.ravel().astype(np.int32) * self.bins
            self.tallies[k] += np.bincount(cell, minlength=2 * self.bins).reshape(2, -1)


HistogramLike = ScoreHistogram | npt.NDArray[np.int64] | FloatArray


def auroc(histogram: HistogramLike) -> FloatArray:
    """Area under the ROC curve, (...); ties count half. NaN without true or without false items."""
    array = _array(histogram)
    false, true = array[..., 0, :], array[..., 1, :]
    above = _at_least(true) - true
    return ratio((false * (above + true / 2)).sum(-1), true.sum(-1) * false.sum(-1))


def average_precision(histogram: HistogramLike) -> FloatArray:
    """Precision averaged over the steps of recall, (...), without interpolation.

    NaN without true items.
    """
    array = _array(histogram)
    true, called = array[..., 1, :], _at_least(array.sum(-2))
    precision = ratio(_at_least(true), called, nothing=0.0)
    return ratio((true * precision).sum(-1), true.sum(-1))


def iou_at(histogram: HistogramLike, threshold: float) -> FloatArray:
    """IoU, (...), of the true items and those whose score is at least `threshold`.

    The threshold is moved to the nearest edge of a bin. NaN where nothing is true or called.

    Raises:
        ValueError: the threshold lies outside 0..1.
    """
    curve = _iou_curve(histogram)
    return np.asarray(curve[..., _edge(threshold, curve.shape[-1])])


def max_iou(histogram: HistogramLike) -> tuple[FloatArray, FloatArray]:
    """The largest IoU over all thresholds, (...), and the lowest threshold that attains it.

    The threshold is chosen by looking at the truth: as a score it is an upper bound, and only a
    threshold found on other patients (`iou_at`) makes a fair one. NaN where nothing is true.
    """
    array = _array(histogram)
    curve = np.nan_to_num(_iou_curve(array), nan=-1.0)
    best = curve.argmax(-1)
    known = array[..., 1, :].sum(-1) > 0
    top = np.take_along_axis(curve, best[..., None], -1)[..., 0]
    return np.where(known, top, np.nan), np.where(known, best / curve.shape[-1], np.nan)


def f1_at(histogram: HistogramLike, threshold: float) -> FloatArray:
    """F1, (...), of calling positive what scores at least `threshold` (see `iou_at`)."""
    overlap = iou_at(histogram, threshold)
    return np.asarray(2 * overlap / (1 + overlap))


def calibration_error(histogram: HistogramLike, n_bins: int = 16) -> FloatArray:
    """Expected calibration error of the scores taken as probabilities, (...).

    The mean over `n_bins` equal bins, weighted with their items, of |mean score - share of true
    items|. Scores stand at the centres of the histogram's fine bins: an error of at most half of
    one fine bin. NaN without items.

    Raises:
        ValueError: `n_bins` does not divide the number of fine bins.

    Source: Guo et al., "On calibration of modern neural networks" (ICML 2017), equation 3.
    """
    array = _array(histogram)
    fine = array.shape[-1]
    if n_bins < 1 or fine % n_bins:
        raise ValueError(f"n_bins is {n_bins}, expected a divisor of {fine}")
    centres = (np.arange(fine) + 0.5) / fine
    surplus = array.sum(-2) * centres - array[..., 1, :]
    coarse = surplus.reshape(*surplus.shape[:-1], n_bins, fine // n_bins).sum(-1)
    return ratio(np.abs(coarse).sum(-1), array.sum((-2, -1)))


def _array(histogram: HistogramLike) -> FloatArray:
    array = histogram.tallies if isinstance(histogram, ScoreHistogram) else histogram
    if array.ndim < 2 or array.shape[-2] != 2:
        raise ValueError(f"histogram has shape {array.shape}, expected (..., 2, bins)")
    return np.asarray(array, np.float64)


def _at_least(counts: FloatArray) -> FloatArray:
    """Items whose score is at least the lower edge of each bin."""
    return np.asarray(counts[..., ::-1].cumsum(-1)[..., ::-1])


def _iou_curve(histogram: HistogramLike) -> FloatArray:
    array = _array(histogram)
    false, true = array[..., 0, :], array[..., 1, :]
    return ratio(_at_least(true), true.sum(-1)[..., None] + _at_least(false))


def _edge(threshold: float, bins: int) -> int:
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold is {threshold}, expected 0 to 1")
    return min(round(threshold * bins), bins - 1)
