"""Seeds: the few pixels whose class is taken as known, from scores and patch labels.

Two rules. Ahn, Cho and Kwak (CVPR 2019), section 3.2, take two thresholds against a background
that has no map of its own. Tissue has no such background: every class has a map, and what counts
as sure follows from the scores of the training images themselves.
"""

import numpy as np
import numpy.typing as npt

from histoweak.classes import IGNORE_INDEX

Scores = npt.NDArray[np.float32]
Mask = npt.NDArray[np.uint8]
Bool = npt.NDArray[np.bool_]
Contest = tuple[Scores, Scores]
"""Scores (K, H, W) of the classes, and (H, W) of a background that competes with them."""

BINS = 1000


class WonScores:
    """How sure the winning class is, over all pixels whose labels leave a choice.

    Args:
        n_classes: K.
    """

    def __init__(self, n_classes: int) -> None:
        self.counts = np.zeros((n_classes, BINS), np.int64)

    def update(self, scores: Scores, allowed: Bool) -> None:
        """Count one image; both (K, H, W), scores sum to 1 over the allowed classes."""
        contested = allowed.sum(axis=0) > 1
        won, score = scores.argmax(axis=0)[contested], scores.max(axis=0)[contested]
        bins = np.minimum((score * BINS).astype(np.int64), BINS - 1)
        flat = np.bincount(won * BINS + bins, minlength=self.counts.size)
        self.counts += flat.reshape(self.counts.shape)

    def thresholds(self, keep: float) -> Scores:
        """(K,) score above which the share `keep` of the pixels lies that each class wins.

        Exact to 1 / `BINS`; 1 for a class that wins none.
        """
        above = self.counts[:, ::-1].cumsum(axis=1)
        wanted = np.ceil(keep * above[:, -1:])
        first = (above >= wanted).argmax(axis=1)
        found = 1 - (first + 1) / BINS
        return np.where(above[:, -1] > 0, found, 1.0).astype(np.float32)


def sure_seeds(scores: Scores, allowed: Bool, thresholds: Scores) -> Mask:
    """The winning class where it reaches its threshold, or where labels allow no other.

    Args:
        scores: (K, H, W), sums to 1 over the allowed classes.
        allowed: (K, H, W).
        thresholds: (K,).

    Returns:
        (H, W) uint8, 255 elsewhere.
    """
    best = scores.argmax(axis=0)
    choices = allowed.sum(axis=0)
    sure = (scores.max(axis=0) >= thresholds[best]) | (choices == 1)
    return np.where(sure & (choices > 0), best, IGNORE_INDEX).astype(np.uint8)


def two_threshold_seeds(high: Contest, low: Contest, background: int) -> Mask:
    """A class where it beats the high constant, background where nothing beats the low one.

    Args:
        high: scores and the background's constant that a seed must beat, 0.30 in the source.
        low: scores and the constant below which nothing is there, 0.05 in the source; the same
            scores unless each was refined against its constant.
        background: class that has no map; its own scores are not read.

    Returns:
        (H, W) uint8, 255 in between.
    """
    winner, nothing = _winner(*high, background), _winner(*low, background) == background
    unsure = (winner == background) & ~nothing
    return np.where(unsure, IGNORE_INDEX, winner).astype(np.uint8)


def _winner(scores: Scores, constant: Scores, background: int) -> npt.NDArray[np.int64]:
    contest = scores.copy()
    contest[background] = constant
    # Ties go to the background, as where it comes first among the maps.
    return np.where(contest.max(axis=0) > constant, contest.argmax(axis=0), background)
