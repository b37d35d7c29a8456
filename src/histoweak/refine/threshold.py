"""The confidence threshold of 0.70, in its three readings.

(A) `min_max_mask`: keep pixels whose min-max normalised map reaches it.
(B) `gate`: use a patch only if the classifier gives its class at least that probability.
(C) `posterior_mask`: keep pixels whose posterior reaches it.
"""

import numpy as np
import numpy.typing as npt

from histoweak.classes import IGNORE_INDEX

Scores = npt.NDArray[np.float32]
Mask = npt.NDArray[np.uint8]

LEAST = 1e-6
"""Posterior that no allowed class falls below: below the steps in which scores are stored."""


def min_max_mask(scores: Scores, threshold: float, rest: int = IGNORE_INDEX) -> Mask:
    """Reading A: the strongest class where it reaches the threshold.

    Args:
        scores: (K, H, W) in [0, 1], each class normalised on its own; absent classes are 0.
        threshold: in [0, 1].
        rest: value of the other pixels: the index of the normal class where there is one
            (as in the source), or 255.

    Returns:
        (H, W) uint8.
    """
    best = scores.argmax(axis=0)
    return np.where(scores.max(axis=0) >= threshold, best, rest).astype(np.uint8)


def posterior_mask(posterior: Scores, threshold: float) -> Mask:
    """Reading C: the likeliest class where its posterior reaches the threshold, else 255.

    With two classes and 0.70 this is 1 above 0.70, 0 below 0.30 and 255 between. Up to 1 / K no
    pixel is left open.

    Args:
        posterior: (K, H, W), sums to 1 over K.
        threshold: in [0, 1].
    """
    best = posterior.argmax(axis=0)
    sure = posterior.max(axis=0) >= threshold
    return np.where(sure, best, IGNORE_INDEX).astype(np.uint8)


def joint_mask(
    scores: Scores, allowed: npt.NDArray[np.bool_], threshold: float, exclude: bool = True
) -> Mask:
    """The strongest class by scores of one common range, where it reaches the threshold.

    Han et al. (Medical Image Analysis 2022) set absent classes to 0 in place of excluding them:
    where a lone present class has the least score of the image, 0, the first class wins.

    Args:
        scores: (K, H, W) in [0, 1], all classes normalised together.
        allowed: (K, H, W) bool.
        threshold: in [0, 1]; 0 gives every pixel a class.
        exclude: whether absent classes cannot win; otherwise they score 0.
    """
    possible = np.where(allowed, scores, -np.inf if exclude else 0)
    best = possible.argmax(axis=0)
    return np.where(possible.max(axis=0) >= threshold, best, IGNORE_INDEX).astype(np.uint8)


def among_allowed(posterior: Scores, allowed: npt.NDArray[np.bool_]) -> Scores:
    """Posterior among the classes that may be present.

    A lone allowed class is certain, even where the network (or the rounding of its scores) gave
    it nothing.

    Args:
        posterior: (K, H, W), sums to 1 over K.
        allowed: (K, H, W) bool.

    Returns:
        (K, H, W), sums to 1 over K; all 0 where no class is allowed.
    """
    possible = np.where(allowed, np.maximum(posterior, LEAST), 0)
    total = possible.sum(axis=0)
    result: Scores = (possible / np.where(total > 0, total, 1)).astype(np.float32)
    return result


def gate(probs: Scores, labels: npt.NDArray[np.int_], threshold: float) -> npt.NDArray[np.bool_]:
    """Reading B: which patches may speak.

    A patch whose label names a single class needs no gate: its label is true of every pixel. A
    patch with several classes speaks when the classifier confirms each of them.

    Args:
        probs: (N, K) class probabilities of the patches.
        labels: (N, K) in {0, 1}.
        threshold: in [0, 1].

    Returns:
        (N,) bool.
    """
    present = labels > 0
    confirmed = np.where(present, probs >= threshold, True).all(axis=1)
    result: npt.NDArray[np.bool_] = (present.sum(axis=1) == 1) | confirmed
    return result
