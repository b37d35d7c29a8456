"""Exact scores of a multi-label patch classifier, class by class.

They need the probabilities of all patches at once, a few bytes for each patch and class. Where
even that is too much, `histogram` gives the same measures to within its bins in constant memory.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from histoweak.metrics import histogram
from histoweak.metrics.ratio import FloatArray, mean_defined, plain, ratio


@dataclass(frozen=True)
class ClassificationScores:
    """Scores of K classes, each of shape (K,) and in 0..1; NaN where one has no meaning.

    Args:
        auroc: area under the ROC curve; NaN without positive or without negative patches.
        average_precision: area under the steps of precision over recall; NaN without positives.
        f1: F1 of the patches called positive; NaN if none is positive or called so.
        calibration_error: expected calibration error over equal bins.
        positives: patches that carry the label.
    """

    auroc: FloatArray
    average_precision: FloatArray
    f1: FloatArray
    calibration_error: FloatArray
    positives: npt.NDArray[np.int64]

    def to_dict(self, class_names: Sequence[str]) -> dict[str, Any]:
        """Plain data for JSON: means over the classes where defined, and `classes` by name."""
        values = {name: getattr(self, name) for name in SCORES}
        result: dict[str, Any] = {f"mean_{n}": plain(mean_defined(v)) for n, v in values.items()}
        result["classes"] = {
            name: {score: plain(v[k]) for score, v in values.items()}
            | {"positives": int(self.positives[k])}
            for k, name in enumerate(class_names)
        }
        return result


SCORES = ("auroc", "average_precision", "f1", "calibration_error")


def classification_scores(
    probs: npt.NDArray[np.floating],
    labels: npt.NDArray[Any],
    *,
    threshold: float = 0.5,
    n_bins: int = 15,
) -> ClassificationScores:
    """Score the probabilities of N patches.

    Args:
        probs: (N, K) in 0..1.
        labels: (N, K) 0/1.
        threshold: a class is called present where its probability is at least this, for F1.
        n_bins: equal bins of the calibration error (Guo et al., ICML 2017, use 15).

    Raises:
        ValueError: shapes differ, there is no patch, a probability lies outside 0..1 or is NaN,
            a label is not 0 or 1, or `n_bins` < 1.

    Example:
        >>> probs, labels = np.array([[0.9], [0.2], [0.6]]), np.array([[1], [0], [0]])
        >>> scores = classification_scores(probs, labels)
        >>> scores.auroc.tolist(), scores.f1.round(3).tolist()
        ([1.0], [0.667])
    """
    scores, truth = _checked(probs, labels)
    ranked = [_ranked(p, t) for p, t in zip(scores.T, truth.T, strict=True)]
    called, positives = scores >= threshold, truth.sum(0)
    return ClassificationScores(
        auroc=np.array([histogram.auroc(r) for r in ranked]),
        average_precision=np.array([histogram.average_precision(r) for r in ranked]),
        f1=ratio(2 * (called & (truth == 1)).sum(0), called.sum(0) + positives),
        calibration_error=_calibration_error(scores, truth, n_bins),
        positives=positives,
    )


def _ranked(probs: FloatArray, truth: npt.NDArray[np.int64]) -> FloatArray:
    """(2, U) false and true patches at each of the U different probabilities.

    Ranking measures depend on the order alone, so that a histogram with one bin for each
    different value makes them exact.
    """
    values, place = np.unique(probs, return_inverse=True)
    counts = np.bincount(truth * len(values) + place, minlength=2 * len(values))
    return counts.reshape(2, -1).astype(np.float64)


def _calibration_error(probs: FloatArray, truth: npt.NDArray[np.int64], n_bins: int) -> FloatArray:
    if n_bins < 1:
        raise ValueError(f"n_bins is {n_bins}, expected at least 1")
    bins = np.minimum((probs * n_bins).astype(np.int64), n_bins - 1)
    surplus = np.zeros((n_bins, probs.shape[1]))
    np.add.at(surplus, (bins, np.arange(probs.shape[1])), probs - truth)
    return np.asarray(np.abs(surplus).sum(0) / len(probs))


def _checked(
    probs: npt.NDArray[np.floating], labels: npt.NDArray[Any]
) -> tuple[FloatArray, npt.NDArray[np.int64]]:
    if probs.ndim != 2 or probs.shape != labels.shape or len(probs) == 0:
        raise ValueError(
            f"probabilities have shape {probs.shape} and labels {labels.shape}, "
            "expected both (N, K) with N >= 1"
        )
    if not ((probs >= 0) & (probs <= 1)).all():
        raise ValueError("probabilities outside 0..1 (or NaN): apply the sigmoid first")
    if not np.isin(labels, (0, 1)).all():
        raise ValueError("labels hold values other than 0 and 1")
    return np.asarray(probs, np.float64), np.asarray(labels).astype(np.int64)
