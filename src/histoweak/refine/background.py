"""Background that no class map shows, and what competes with the classes there."""

from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from histoweak.classes import IGNORE_INDEX
from histoweak.config import StrictConfig

Scores = npt.NDArray[np.float32]
Mask = npt.NDArray[np.uint8]


class BackgroundConfig(StrictConfig):
    """What competes with the maps of the classes, besides each other.

    `kind` is `constant`: the background scores `score` everywhere; `saliency`: it scores 1 outside
    of what an external map in `folder` (one grey image per training image, of its file name) shows
    brighter than `salient`, and 0 inside; or `nuclei`: no opponent, but the classes are weighed
    down, by up to the share `weight`, where there is little haematoxylin within `sigma` pixels.

    Where the background wins, the pixel becomes `pseudo_masks.negative`, or is ignored without
    one. The map of that class itself takes no part, save with `nuclei`. Pixels at which more than
    two scores, the background's included, exceed `crowded` are ignored; null for no such rule.
    """

    kind: Literal["constant", "saliency", "nuclei"] = "constant"
    score: float = Field(0.5, ge=0, le=1)
    folder: str | None = None
    salient: int = Field(50, ge=0, le=254)
    weight: float = Field(0.5, ge=0, le=1)
    sigma: float = Field(8.0, gt=0)
    crowded: float | None = Field(None, gt=0, le=1)


def background_score(
    config: BackgroundConfig, saliency: Mask | None, size: tuple[int, int]
) -> Scores:
    """(H, W) score of the background, for the kinds that have one.

    Args:
        config: which kind.
        saliency: (H, W) uint8, for `saliency`.
        size: (H, W).
    """
    if config.kind == "constant":
        return np.full(size, config.score, np.float32)
    if saliency is None:
        raise ValueError("a background by saliency needs the saliency map")
    return (saliency <= config.salient).astype(np.float32)


def against_background(
    scores: Scores,
    background: Scores,
    threshold: float,
    negative: int | None,
    crowded: float | None = None,
) -> Mask:
    """Mask of the strongest class, or the background where that is stronger.

    Kim, Han & Kim (AAAI 2021, arXiv 2103.07246), section 3.3, with the saliency of another network
    as background: scores below the threshold are cut to 0, the background competes, and where it
    wins although its own map says foreground, nobody knows.

    Args:
        scores: (K, H, W) in [0, 1], 0 for absent classes.
        background: (H, W) in [0, 1].
        threshold: score that a class needs.
        negative: index of the class that the background is, or None.
        crowded: where more than two scores exceed it, the pixel is ignored; None for no such rule.

    Returns:
        (H, W) uint8.
    """
    classes = np.where(scores >= threshold, scores, 0)
    if negative is not None:
        classes[negative] = 0
    best, strongest = classes.argmax(axis=0), classes.max(axis=0)
    rest = IGNORE_INDEX if negative is None else negative
    mask = np.where(strongest > background, best, rest).astype(np.uint8)
    mask[(strongest == 0) & (background == 0)] = IGNORE_INDEX
    if crowded is not None:
        high = (classes > crowded).sum(axis=0) + (background > crowded)
        mask[high > 2] = IGNORE_INDEX
    return mask


def weigh_by_nuclei(scores: Scores, density: Scores, weight: float, negative: int) -> Scores:
    """Weigh all classes but one down where there are few nuclei; a prior, never an opponent.

    Args:
        scores: (K, H, W) in [0, 1].
        density: (H, W) in [0, 1], how much of the haematoxylin of the image's densest places.
        weight: share of a score that density decides.
        negative: index of the class that stays.

    Returns:
        (K, H, W); a posterior has to be divided by its sum again.
    """
    weighed = scores * (1 - weight + weight * density)
    weighed[negative] = scores[negative]
    return np.asarray(weighed, np.float32)
