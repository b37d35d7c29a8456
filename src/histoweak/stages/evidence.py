"""Does the classifier name the right classes, and does it look at the right tissue?

Everything here is read from the maps that the evaluation computes anyway; see `view`.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from histoweak.classes import IGNORE_INDEX
from histoweak.data.hed import RGB_FROM_HED
from histoweak.metrics import histogram
from histoweak.metrics.classification import SCORES, classification_scores
from histoweak.metrics.evidence import EvidenceTally, energy_pointing, evidence_scores
from histoweak.metrics.groups import Grouped
from histoweak.metrics.histogram import ScoreHistogram
from histoweak.metrics.intervals import Interval, bootstrap, bootstrap_items
from histoweak.metrics.ratio import FloatArray, mean_defined, plain
from histoweak.refine.white import WhiteConfig, white_mask
from histoweak.stages.view import Patch

UInt8 = npt.NDArray[np.uint8]
Bool = npt.NDArray[np.bool_]

DRAWS = 500
"""Bootstrap samples of the intervals; ranking measures are dear."""
HALF = 0.5
"""Score from which on a pixel belongs to the class, in the rule for right evidence."""
MOST_STAIN_PIXELS = 1 << 16
"""Pixels of one patch that its mean stain is taken from."""
HAEMATOXYLIN, EOSIN, TISSUE = "haematoxylin (optical density)", "eosin (optical density)", "tissue"


@dataclass(frozen=True)
class Judged:
    """One patch in the analysis of misclassified patches.

    Args:
        image: name of the image.
        patient: its patient.
        class_right: whether exactly the classes of the patch were named.
        evidence_right: whether the scores of every class of the patch lie on its tissue.
        statistics: mean optical densities of haematoxylin and eosin over tissue, share of tissue
            in the patch, share of each class in the scored pixels.
        probs: K probabilities.
    """

    image: str
    patient: str
    class_right: bool
    evidence_right: bool
    statistics: dict[str, float]
    probs: tuple[float, ...]


class EvidenceSums:
    """Counts evidence and classification; a few numbers are kept for each patch.

    Args:
        names: the K classes.
        energy: share of the scores of a class that must lie on its tissue for right evidence.
        overlap: IoU with its tissue that the pixels with a score of at least 0.5 must reach.
        white: rule for what is no tissue.
    """

    def __init__(
        self, names: tuple[str, ...], energy: float, overlap: float, white: WhiteConfig
    ) -> None:
        self.names, self.energy, self.overlap = names, energy, overlap
        # Single pale pixels may go either way; looking for their neighbours costs more.
        self.white = white.model_copy(update={"min_pixels": 0})
        self.tallies = Grouped(lambda: EvidenceTally(len(names)))
        self.histograms = Grouped(lambda: ScoreHistogram(len(names)))
        self.judged: list[Judged] = []
        self.labelled: list[tuple[str, FloatArray, tuple[int, ...]]] = []

    def update(self, patch: Patch) -> None:
        """Count one image; without a scored pixel only its label counts."""
        record, view, truth = patch.record, patch.view, patch.truth
        if record.labels:
            probs = view.probs.astype(np.float64)
            self.labelled.append((record.patient, probs, record.labels))
        valid = truth != IGNORE_INDEX
        if not valid.any():
            return
        classes = np.arange(len(self.names))[:, None, None]
        self.tallies[record.patient].update(patch.scores, truth, view.called.astype(np.float64))
        self.histograms[record.patient].update(patch.scores, truth == classes, valid)
        areas = np.bincount(truth[valid], minlength=len(self.names)) / valid.sum()
        labels = np.asarray(record.labels, bool) if record.labels else areas > 0
        shares = {f"area of {n}": float(a) for n, a in zip(self.names, areas, strict=True)}
        self.judged.append(
            Judged(
                image=str(record.image),
                patient=record.patient,
                class_right=bool((view.called == labels).all()),
                evidence_right=self._right(patch.scores, truth, valid, np.flatnonzero(areas)),
                statistics=stain_statistics(patch.image, self.white) | shares,
                probs=tuple(round(float(p), 6) for p in view.probs),
            )
        )

    def rule(self) -> str:
        """When evidence counts as right, in words."""
        return (
            f"for every class of the patch at least {100 * self.energy:g} % of the scores lie on "
            f"its tissue and the pixels with a score of {HALF:g} or more overlap it by an IoU of "
            f"at least {self.overlap:g}"
        )

    def figures(self) -> dict[str, Any]:
        """Plain data for JSON, described in `histoweak.stages.evaluation`."""
        found: dict[str, Any] = {"patches": len(self.judged), "rule": self.rule()}
        if self.judged:
            by_patient = self.tallies.stacked().tolist()
            found |= with_intervals(self.tallies.stacked(), evidence_scores, self.names)
            found["pixels"] = with_intervals(self.histograms.stacked(), _rank, self.names)
            found["fields"] = list(EvidenceTally.FIELDS)
            found["patients"] = dict(zip(self.tallies.names, by_patient, strict=True))
        found["cells"] = cells(self.judged)
        return found

    def classification(self) -> dict[str, Any] | None:
        """Exact scores over the labelled patches, with intervals; None where no patch has a label.

        Plain data for JSON, described in `histoweak.stages.evaluation`.
        """
        if not self.labelled:
            return None
        probs = np.array([p for _, p, _ in self.labelled])
        labels = np.array([label for _, _, label in self.labelled])

        def statistic(chosen: npt.NDArray[np.intp]) -> FloatArray:
            scores = classification_scores(probs[chosen], labels[chosen])
            by_class = np.stack([getattr(scores, name) for name in SCORES])
            return np.concatenate([by_class, mean_defined(by_class)[:, None]], 1).ravel()

        patients = [patient for patient, _, _ in self.labelled]
        found = bootstrap_items(patients, statistic, draws=DRAWS)
        whole = classification_scores(probs, labels).to_dict(self.names)
        shape = (len(SCORES), len(self.names) + 1)
        bounds = [np.asarray(v).reshape(shape).T for v in (found.low, found.high)]
        intervals = {
            name: {s: [plain(b[row, i]) for b in bounds] for i, s in enumerate(SCORES)}
            for row, name in enumerate((*self.names, "mean"))
        }
        return {"patches": len(labels), **whole, "intervals": intervals}

    def table(self) -> dict[str, list[Any]]:
        """Columns with one row per patch, for people who want to look further."""
        columns: dict[str, list[Any]] = {
            name: [getattr(j, name) for j in self.judged]
            for name in ("image", "patient", "class_right", "evidence_right")
        }
        for k, name in enumerate(self.names):
            columns[f"probability of {name}"] = [j.probs[k] for j in self.judged]
        for name in self.judged[0].statistics if self.judged else ():
            columns[name] = [round(j.statistics[name], 6) for j in self.judged]
        return columns

    def _right(
        self, scores: npt.NDArray[np.float32], truth: UInt8, valid: Bool, present: npt.NDArray[Any]
    ) -> bool:
        for k in present:
            seen, true = scores[k][valid], truth[valid] == k
            share, _ = energy_pointing(seen, true)
            called = seen >= HALF
            overlap = (called & true).sum() / (called | true).sum()
            if share < self.energy or overlap < self.overlap:
                return False
        return True


def stain_statistics(image: UInt8, white: WhiteConfig) -> dict[str, float]:
    """Mean optical density of both stains over the tissue of a patch, and its share of tissue.

    Densities are natural logarithms, unmixed with `histoweak.data.hed`; 0 without tissue.

    Args:
        image: (h, w, 3) uint8.
        white: what is no tissue.
    """
    step = int(np.ceil(np.sqrt(image.shape[0] * image.shape[1] / MOST_STAIN_PIXELS)))
    pixels = image[::step, ::step]
    tissue = ~white_mask(pixels, white)
    density = -np.log(pixels[tissue].clip(1) / 255)
    # Unmixing is linear: the mean of the stains is the unmixed mean of the colours.
    colour = density.mean(axis=0) if tissue.any() else np.zeros(3)
    stains = colour @ np.linalg.inv(RGB_FROM_HED)
    return {HAEMATOXYLIN: float(stains[0]), EOSIN: float(stains[1]), TISSUE: float(tissue.mean())}


def cells(judged: Sequence[Judged]) -> list[dict[str, Any]]:
    """The four cells of {class right, wrong} x {evidence right, wrong}.

    Returns:
        For each cell its two marks, `patients` (patches by patient) and `statistics` (name ->
        `median` and the quartiles `low` and `high` over its patches).
    """
    found = []
    for class_right in (True, False):
        for evidence_right in (True, False):
            kind = (class_right, evidence_right)
            own = [j for j in judged if (j.class_right, j.evidence_right) == kind]
            patients = sorted({j.patient for j in own})
            names = own[0].statistics if own else ()
            found.append(
                {
                    "class_right": class_right,
                    "evidence_right": evidence_right,
                    "patients": {p: sum(j.patient == p for j in own) for p in patients},
                    "statistics": {n: _spread([j.statistics[n] for j in own]) for n in names},
                }
            )
    return found


def with_intervals(
    tallies: npt.NDArray[Any],
    scores: Callable[[FloatArray], dict[str, FloatArray]],
    names: Sequence[str],
) -> dict[str, Any]:
    """Score the sum of all patients, with 95 % bootstrap intervals over patients.

    Args:
        tallies: (G, K, ...) one tally per patient.
        scores: summed tallies (..., K, ...) -> values (..., K) by name.
        names: the K classes.

    Returns:
        `classes` (class -> name of the score -> `estimate`, `low`, `high`) and `mean`, the same
        for the mean over the classes where a score is defined.
    """
    kinds = list(scores(np.asarray(tallies.sum(0), np.float64)))

    def statistic(sums: FloatArray) -> FloatArray:
        by_class = np.stack(list(scores(sums).values()), -2)
        return np.concatenate([by_class, mean_defined(by_class)[..., None]], -1)

    found = bootstrap(tallies, statistic, draws=DRAWS)
    rows = [
        {kind: _entry(found, (i, k)) for i, kind in enumerate(kinds)} for k in range(len(names) + 1)
    ]
    return {"classes": dict(zip(names, rows[:-1], strict=True)), "mean": rows[-1]}


def _rank(sums: FloatArray) -> dict[str, FloatArray]:
    return {
        "auroc": histogram.auroc(sums),
        "average_precision": histogram.average_precision(sums),
        "iou_at_half": histogram.iou_at(sums, HALF),
        "max_iou": histogram.max_iou(sums)[0],
    }


def _entry(interval: Interval, place: tuple[int, int]) -> dict[str, Any]:
    return {name: plain(values[place]) for name, values in asdict(interval).items()}


def _spread(values: Sequence[float]) -> dict[str, float]:
    low, median, high = np.quantile(values, (0.25, 0.5, 0.75)).tolist()
    return {"median": median, "low": low, "high": high}
