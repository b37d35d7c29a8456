"""Does the evidence (a class activation map) lie where the tissue is?

Tumour fills most of many patches, so that even a blind map puts most of its energy on tumour:
energy pointing is therefore reported as lift, the share of energy minus the share of area. What a
map says on patches without the class is its leakage. Pixels whose truth is ignored do not count.
Pixel AP and AUROC and the IoU at thresholds come from `histogram.ScoreHistogram`.
"""

import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt

from histoweak.classes import IGNORE_INDEX
from histoweak.metrics.ratio import FloatArray, ratio
from histoweak.metrics.tally import Tally

BoolArray = npt.NDArray[np.bool_]

MIN_LIFT = 0.1
"""Lift that a rightly called positive patch needs to count in `evidence_accuracy`."""
MAX_LEAKAGE = 0.05
"""Mean evidence that a rightly called negative patch may have there."""
SLACK = 1e-6  # rounding of 32-bit scores must not decide at exactly these two limits


def pointing_game(
    evidence: npt.NDArray[np.floating], truth: BoolArray, tolerance_px: float = 0
) -> float:
    """Share of the strongest pixels that hit the truth: 1 or 0 unless several are equally strong.

    Counting all ties keeps a flat map from being right by the order of its pixels: it gets the
    share of area that the truth covers.

    Args:
        evidence: (...) evidence >= 0.
        truth: bool, the same shape, not empty.
        tolerance_px: a hit may miss the truth by this distance (needs (H, W) arrays if not 0).

    Source: Zhang et al., "Top-down neural attention by excitation backprop" (IJCV 2018),
    where the tolerance is 15 pixels of a photograph.
    """
    strongest = evidence == evidence.max()
    if tolerance_px and truth.any():
        truth = distance_transform_edt(~truth) <= tolerance_px
    return float(truth[strongest].mean())


def energy_pointing(evidence: npt.NDArray[np.floating], truth: BoolArray) -> tuple[float, float]:
    """Share of the evidence that lies on the truth, and its lift over the share of area.

    A map without any evidence points nowhere: it scores like a flat one, with lift 0.

    Args:
        evidence: (...) evidence >= 0.
        truth: bool, the same shape, not empty.

    Returns:
        (share in 0..1, lift in -1..1). The lift can reach at most 1 - share of area.

    Source: Wang et al., "Score-CAM" (CVPR 2020 workshops), with masks for boxes.

    Example:
        >>> evidence = np.array([[0.5, 0.25, 0.25, 0.0]])
        >>> energy_pointing(evidence, np.array([[True, True, False, False]]))
        (0.75, 0.25)
    """
    area = float(truth.mean())
    total = float(evidence.sum(dtype=np.float64))
    share = float(evidence[truth].sum(dtype=np.float64)) / total if total > 0 else area
    return share, share - area


class EvidenceTally(Tally):
    """Where the evidence of K classes lies, summed over patches.

    A patch is positive for a class whose pixels its truth holds, else negative.

    Args:
        n_classes: K.
        threshold: a class is called present where its probability is at least this.
        tolerance_px: tolerance of the pointing game, in pixels of the masks.
        ignore_index: mask value that is no class.
    """

    FIELDS = (
        "positives",
        "pointing",
        "energy",
        "area",
        "right_positives",
        "out_of_reach",
        "negatives",
        "leakage",
        "right_negatives",
    )

    def __init__(
        self,
        n_classes: int,
        threshold: float = 0.5,
        tolerance_px: float = 0,
        ignore_index: int = IGNORE_INDEX,
    ) -> None:
        self.n_classes, self.threshold = n_classes, threshold
        self.tolerance_px, self.ignore_index = tolerance_px, ignore_index
        self.tallies: FloatArray = np.zeros((n_classes, len(self.FIELDS)))
        """(K, 9): sums over patches, in the order of `FIELDS`."""

    def settings(self) -> tuple[int, float, float, int]:
        """The arguments that the tally was made with."""
        return self.n_classes, self.threshold, self.tolerance_px, self.ignore_index

    def update(
        self,
        scores: npt.NDArray[np.floating],
        truth: npt.NDArray[np.uint8],
        probs: npt.NDArray[np.floating],
    ) -> None:
        """Count one patch; one without a scored pixel is left out.

        Args:
            scores: (K, H, W) evidence in 0..1, of the size of the mask.
            truth: (H, W) uint8 true classes.
            probs: (K,) the classifier's probabilities.

        Raises:
            ValueError: shapes do not fit, or a score lies outside 0..1 or is NaN.
        """
        k = self.n_classes
        if scores.shape != (k, *truth.shape) or truth.ndim != 2 or probs.shape != (k,):
            raise ValueError(
                f"scores {scores.shape}, truth {truth.shape} and probabilities {probs.shape} "
                f"do not fit, expected ({k}, H, W), (H, W) and ({k},)"
            )
        if not ((scores >= 0) & (scores <= 1)).all():
            raise ValueError("scores outside 0..1 (or NaN): scale them first")
        valid = truth != self.ignore_index
        if not valid.any():
            return
        for c in range(k):
            called = bool(probs[c] >= self.threshold)
            self.tallies[c] += self._one_class(scores[c], truth == c, valid, called)

    def _one_class(
        self, evidence: npt.NDArray[np.floating], truth: BoolArray, valid: BoolArray, called: bool
    ) -> FloatArray:
        seen = evidence[valid]
        if not truth.any():
            leakage = float(seen.mean(dtype=np.float64))
            right = not called and leakage <= MAX_LEAKAGE + SLACK
            return np.array([0] * 6 + [1, leakage, right], float)
        share, lift = energy_pointing(seen, truth[valid])
        area = share - lift
        masked = np.where(valid, evidence, -1.0)
        pointing = pointing_game(masked, truth, self.tolerance_px)
        right = called and lift >= MIN_LIFT - SLACK
        beyond = 1 - area < MIN_LIFT - SLACK
        return np.array([1, pointing, share, area, right, beyond, 0, 0, 0], float)


def evidence_scores(tally: EvidenceTally | FloatArray) -> dict[str, FloatArray]:
    """Scores of an `EvidenceTally`, or of its tallies (..., K, 9), each of shape (..., K).

    Returns:
        `pointing_game`, `energy_pointing` (0..1) and `energy_lift` (-1..1), means over positive
        patches; `leakage`, mean evidence on negative patches (0..1); `evidence_accuracy` over all
        patches, `evidence_accuracy_positive` and `evidence_accuracy_negative` (0..1): patches
        rightly called whose lift is at least `MIN_LIFT`, or whose leakage is at most
        `MAX_LEAKAGE`; `out_of_reach`, the share of positive patches that the class fills so far
        that no map could reach `MIN_LIFT` (they count as wrong in the accuracy). NaN where there
        is no such patch.
    """
    array = tally.tallies if isinstance(tally, EvidenceTally) else np.asarray(tally, np.float64)
    sums = dict(zip(EvidenceTally.FIELDS, np.moveaxis(array, -1, 0), strict=True))
    positives, negatives = sums["positives"], sums["negatives"]
    right = sums["right_positives"] + sums["right_negatives"]
    return {
        "pointing_game": ratio(sums["pointing"], positives),
        "energy_pointing": ratio(sums["energy"], positives),
        "energy_lift": ratio(sums["energy"] - sums["area"], positives),
        "leakage": ratio(sums["leakage"], negatives),
        "evidence_accuracy": ratio(right, positives + negatives),
        "evidence_accuracy_positive": ratio(sums["right_positives"], positives),
        "evidence_accuracy_negative": ratio(sums["right_negatives"], negatives),
        "out_of_reach": ratio(sums["out_of_reach"], positives),
    }
