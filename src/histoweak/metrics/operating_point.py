"""Where a classifier's probability becomes a yes: the point of equal error rates."""

from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


def balanced_thresholds(
    probs: npt.NDArray[np.floating], labels: npt.NDArray[Any], *, floor: float = 1 / 3
) -> FloatArray:
    """Threshold of each class at the point of its ROC curve where TPR = TNR.

    Chan et al. (ICCV 2019), section 3.1, with the floor of 1/3 of the released code. The curve has
    a point for each different probability; the nearest to equality is taken, of several the one
    with the larger sum of both rates, then the higher threshold.

    Args:
        probs: (N, K) in 0..1.
        labels: (N, K) 0/1.
        floor: least threshold, in 0..1; also that of classes without positive or without negative
            patches, which have no curve.

    Returns:
        (K,) thresholds; a class is called where its probability is at least its threshold.

    Example:
        >>> probs, labels = np.array([[0.9], [0.6], [0.5], [0.1]]), np.array([[1], [1], [0], [0]])
        >>> balanced_thresholds(probs, labels).tolist()
        [0.6]
    """
    if probs.ndim != 2 or probs.shape != labels.shape:
        raise ValueError(f"probabilities {probs.shape} and labels {labels.shape}")
    return np.array([max(_equal(p, t > 0), floor) for p, t in zip(probs.T, labels.T, strict=True)])


def _equal(probs: npt.NDArray[np.floating], truth: npt.NDArray[np.bool_]) -> float:
    positives, negatives = np.sort(probs[truth]), np.sort(probs[~truth])
    if not len(positives) or not len(negatives):
        return 0.0
    values = np.unique(probs)
    hit = 1 - np.searchsorted(positives, values) / len(positives)
    spared = np.searchsorted(negatives, values) / len(negatives)
    # lexsort puts its last key first.
    best = np.lexsort((-values, -(hit + spared), np.abs(hit - spared).round(12)))[0]
    return float(values[best])
