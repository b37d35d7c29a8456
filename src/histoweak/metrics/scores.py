"""Scores from a confusion matrix over the whole data set.

Every function takes a `ConfusionMatrix`, or counts with any leading shape (..., K, K) or
(..., K, K+1), the last column being `unpredicted`; rows are the truth. Leading axes let one call
score every patient or every bootstrap draw. Values lie in 0..1; NaN marks a score that has no
meaning because nothing was there to count.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from histoweak.metrics.confusion import ConfusionMatrix
from histoweak.metrics.ratio import FloatArray, mean_defined, plain, ratio

CountsLike = ConfusionMatrix | npt.NDArray[np.integer[Any]] | npt.NDArray[np.floating[Any]]


def iou(counts: CountsLike) -> FloatArray:
    """Intersection over union of each class, (..., K).

    NaN for a class that neither the truth nor the prediction holds; 0 for a class that is
    predicted but never true, or true but never predicted.

    Example:
        >>> iou(np.array([[3, 1], [2, 4]])).round(3).tolist()
        [0.5, 0.571]
    """
    hit, truth, predicted = _tallies(counts)
    return ratio(hit, truth + predicted - hit)


def miou_present(counts: CountsLike) -> FloatArray:
    """Mean IoU, (...), over the classes present in the truth or the prediction.

    A class absent from both is skipped; NaN if every class is.
    """
    return mean_defined(iou(counts))


def miou_zero(counts: CountsLike) -> FloatArray:
    """Mean IoU, (...), over all K classes; a class absent from truth and prediction counts as 0."""
    return np.asarray(np.nan_to_num(iou(counts)).mean(-1))


def fwiou(counts: CountsLike) -> FloatArray:
    """IoU weighted with the share of each class in the truth, (...).

    Source: Garcia-Garcia et al., "A review on deep learning techniques applied to semantic
    segmentation" (2017). NaN without a scored pixel.
    """
    _, truth, _ = _tallies(counts)
    return ratio((truth * np.nan_to_num(iou(counts))).sum(-1), truth.sum(-1))


def dice(counts: CountsLike) -> FloatArray:
    """Dice coefficient (F1 of pixels) of each class, (..., K); NaN as for `iou`."""
    hit, truth, predicted = _tallies(counts)
    return ratio(2 * hit, truth + predicted)


def mean_dice(counts: CountsLike) -> FloatArray:
    """Mean Dice coefficient, (...), over the classes present in the truth or the prediction."""
    return mean_defined(dice(counts))


def recall(counts: CountsLike) -> FloatArray:
    """Share of each true class that is found, (..., K); NaN for a class that is never true."""
    hit, truth, _ = _tallies(counts)
    return ratio(hit, truth)


def specificity(counts: CountsLike) -> FloatArray:
    """Share of what is not of a class that is not given it, (..., K); NaN where all is of it."""
    hit, truth, predicted = _tallies(counts)
    others = truth.sum(-1, keepdims=True) - truth
    return ratio(others - (predicted - hit), others)


def mean_recall(counts: CountsLike) -> FloatArray:
    """Mean recall, (...), over the classes present in the truth ("mean class accuracy")."""
    return mean_defined(recall(counts))


def precision(counts: CountsLike) -> FloatArray:
    """Share of each predicted class that is right, (..., K); NaN where never predicted."""
    hit, _, predicted = _tallies(counts)
    return ratio(hit, predicted)


def pixel_accuracy(counts: CountsLike) -> FloatArray:
    """Share of the scored pixels that are right, (...); NaN without a scored pixel."""
    hit, truth, _ = _tallies(counts)
    return ratio(hit.sum(-1), truth.sum(-1))


def summary(counts: CountsLike, class_names: Sequence[str]) -> dict[str, Any]:
    """All scores of one matrix as plain data for JSON; a score without meaning is None.

    Returns:
        The keys `miou_present`, `miou_zero`, `fwiou`, `mean_dice`, `pixel_accuracy` and
        `mean_recall` (0..1 or None), `scored_pixels` and `unpredicted_pixels` (counts), and
        `classes`: name -> `iou`, `dice`, `recall`, `precision`, `truth_pixels`,
        `predicted_pixels`.

    Raises:
        ValueError: the counts are of several matrices, or the names do not fit.
    """
    full = _full(counts)
    if full.ndim != 2 or len(class_names) != full.shape[0]:
        raise ValueError(f"counts {full.shape} do not fit the {len(class_names)} classes named")
    _, truth, predicted = _tallies(full)
    overall = (miou_present, miou_zero, fwiou, mean_dice, pixel_accuracy, mean_recall)
    result: dict[str, Any] = {score.__name__: plain(score(full)) for score in overall}
    result["scored_pixels"] = int(full.sum())
    result["unpredicted_pixels"] = int(full[:, -1].sum())
    per_class = {score.__name__: score(full) for score in (iou, dice, recall, precision)}
    result["classes"] = {
        name: {score: plain(values[i]) for score, values in per_class.items()}
        | {"truth_pixels": int(truth[i]), "predicted_pixels": int(predicted[i])}
        for i, name in enumerate(class_names)
    }
    return result


def _full(counts: CountsLike) -> FloatArray:
    """Counts as (..., K, K+1) floats, with `unpredicted` all 0 where it is not given."""
    array = counts.tallies if isinstance(counts, ConfusionMatrix) else np.asarray(counts)
    if array.ndim < 2 or array.shape[-1] - array.shape[-2] not in (0, 1):
        raise ValueError(f"counts have shape {array.shape}, expected (..., K, K) or (..., K, K+1)")
    missing = array.shape[-2] + 1 - array.shape[-1]
    padding = [(0, 0)] * (array.ndim - 1) + [(0, missing)]
    return np.pad(array.astype(np.float64), padding)


def _tallies(counts: CountsLike) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Pixels of each class that are right, true and predicted, each (..., K)."""
    full = _full(counts)
    hit = np.diagonal(full, axis1=-2, axis2=-1)
    return hit, full.sum(-1), full[..., :-1].sum(-2)
