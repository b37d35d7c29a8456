"""Scores with their intervals, class by class, and what a reader must know of each.

Scores lie in [0, 1] unless their meaning says otherwise; None and NaN both say that a score has no
meaning (a class that is never there) and are shown as a dash.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from histoweak.report.protocol import Protocol

Score = float | None
Bounds = tuple[float, float]


@dataclass(frozen=True)
class Estimate:
    """A score, and (low, high) of its interval where there is one."""

    value: Score
    interval: Bounds | None = None


UNKNOWN = Estimate(None)


@dataclass(frozen=True)
class Measure:
    """One kind of score: for each of the K classes, and their mean.

    Args:
        name: as the column is headed.
        meaning: one sentence: what it says, and which values are good.
        classes: K estimates.
        mean: over the classes where the score is defined.
    """

    name: str
    meaning: str
    classes: Sequence[Estimate]
    mean: Estimate = UNKNOWN


@dataclass(frozen=True)
class MeasureTable:
    """Several measures of the same thing, one row per class.

    Args:
        measures: columns; the first is also drawn.
        title: what was measured, where a page has several such tables.
        patches: images that were scored.
        counts: K numbers of patches that hold the class.
        interval_method: e.g. "95 % bootstrap over patients, 500 draws".
        protocol: where it differs from that of the report.
    """

    measures: Sequence[Measure]
    title: str = ""
    patches: int | None = None
    counts: Sequence[int] | None = None
    interval_method: str = ""
    protocol: Protocol | None = None


@dataclass(frozen=True)
class PseudoMaskQuality:
    """How good pseudo-masks are; K values per sequence.

    Args:
        miou: mean IoU with the truth.
        coverage: share of the pixels that were given a class.
        accuracy: share of the given pixels whose class is right.
        iou: by class.
        precision: by class: share of the class's pixels that are right.
        recall: by class: share of the true pixels that are found.
        title: which pseudo-masks these are.
        reading: one or two sentences on how they came about.
        images: number of images they lie on.
        contested: coverage and accuracy of the pixels whose class patch labels alone did not
            decide; None where no label was used.
        protocol: where it differs from that of the report (the split usually does).
    """

    miou: Estimate
    coverage: Estimate
    accuracy: Estimate
    iou: Sequence[Score]
    precision: Sequence[Score]
    recall: Sequence[Score]
    title: str = ""
    reading: str = ""
    images: int | None = None
    contested: tuple[Score, Score] | None = None
    protocol: Protocol | None = None


@dataclass(frozen=True)
class Faithfulness:
    """Whether the classifier's answer rests on its evidence; means over a few images.

    Args:
        images: how many.
        probability: of the likeliest class, before anything was changed.
        deletion: area under its curve while the strongest evidence is painted white.
        insertion: the same while the strongest evidence is put into a blurred image.
        drop: fall of the probability when the strongest fifth of the pixels is painted white.
        protocol: where it differs from that of the report.
    """

    images: int
    probability: Score
    deletion: Score
    insertion: Score
    drop: Score
    protocol: Protocol | None = None
