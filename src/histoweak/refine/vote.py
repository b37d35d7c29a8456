"""Segments vote: all pixels of a segment take its mean scores."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.float32]


def vote_partition(segments: npt.NDArray[np.integer], scores: Scores) -> Scores:
    """Mean scores of segments that divide the image.

    Args:
        segments: (H, W) number of each pixel's segment, from 0.
        scores: (K, H, W).

    Returns:
        (K, H, W), constant on each segment.
    """
    flat = segments.ravel()
    size = np.maximum(np.bincount(flat), 1)
    sums = np.stack([np.bincount(flat, weights=one.ravel()) for one in scores])
    voted: Scores = (sums / size).astype(np.float32)[:, segments]
    return voted


def vote_masks(masks: Iterable[npt.NDArray[np.bool_]], scores: Scores) -> Scores:
    """Mean scores of segments that may overlap and need not cover the image.

    A pixel takes the average of what its segments say, each the mean of the scores in it; a pixel
    of no segment keeps its scores.

    Args:
        masks: (H, W) bool each; read once, one after the other.
        scores: (K, H, W).
    """
    total = np.zeros(scores.shape, np.float64)
    count = np.zeros(scores.shape[1:], np.int64)
    for mask in masks:
        if mask.any():
            total[:, mask] += scores[:, mask].mean(axis=1, dtype=np.float64)[:, None]
            count += mask
    voted: Scores = np.where(count > 0, total / np.maximum(count, 1), scores).astype(np.float32)
    return voted
