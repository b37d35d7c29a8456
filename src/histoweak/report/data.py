"""What a report may show, as plain frozen data; every part but the ladder may be missing.

Scores lie in [0, 1]; None and NaN both say that a score has no meaning (a class that is never
there) and are shown as a dash. `iou` and its like hold one value for each of the K classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from histoweak.classes import ClassSet
from histoweak.report.measures import (
    UNKNOWN,
    Bounds,
    Estimate,
    Faithfulness,
    MeasureTable,
    PseudoMaskQuality,
    Score,
)
from histoweak.report.protocol import Protocol

Pixels = npt.NDArray[np.uint8]
Scores = npt.NDArray[np.floating]


@dataclass(frozen=True)
class LadderRow:
    """Scores of one step of the method, e.g. CAM, pseudo-masks or segmenter.

    Args:
        name: the step.
        iou: K values.
        miou: mean IoU over the classes that truth or prediction hold, dataset-level.
        fwiou: frequency-weighted IoU.
        dice: mean Dice.
        accuracy: pixel accuracy.
        miou_zero: mean IoU over all classes, where an absent class counts as 0.
        recall: mean recall of the classes.
        image_miou: mean over images of the mIoU of single images, another measure than `miou`.
        boundary_f: mean boundary F.
        boundary_iou: mean boundary IoU.
        interval: (low, high) of `miou`.
        coverage: share of the scored pixels that were given a class.
        class_intervals: K intervals of `iou`.
        protocol: where it differs from that of the report.
        reference: a yardstick (full supervision), not a step of the method.
    """

    name: str
    iou: Sequence[Score]
    miou: Score
    fwiou: Estimate = UNKNOWN
    dice: Estimate = UNKNOWN
    accuracy: Estimate = UNKNOWN
    miou_zero: Estimate = UNKNOWN
    recall: Estimate = UNKNOWN
    image_miou: Estimate = UNKNOWN
    boundary_f: Estimate = UNKNOWN
    boundary_iou: Estimate = UNKNOWN
    interval: Bounds | None = None
    coverage: Score = None
    class_intervals: Sequence[Bounds | None] | None = None
    protocol: Protocol | None = None
    reference: bool = False


@dataclass(frozen=True, eq=False)
class PatientRow:
    """Scores of one patient; `confusion` is (K, K) or (K, K+1) as in `ReportData`."""

    patient: str
    patches: int
    miou: Score
    iou: Sequence[Score]
    confusion: npt.NDArray[np.integer] | None = None


@dataclass(frozen=True, eq=False)
class Sample:
    """One patch with what was made of it.

    Args:
        name: the patch.
        patient: its patient.
        image: (H, W, 3) uint8.
        prediction: (h, w) uint8 class indices, 255 = ignore.
        miou: mean IoU of this one patch.
        scores: (K, h, w) in [0, 1], or such maps (h, w) by class name.
        pseudo_mask: like `prediction`.
        truth: like `prediction`.
    """

    name: str
    patient: str
    image: Pixels
    prediction: Pixels | None
    miou: Score = None
    scores: Scores | Mapping[str, Scores] | None = None
    pseudo_mask: Pixels | None = None
    truth: Pixels | None = None


@dataclass(frozen=True)
class Gallery:
    """Samples under a heading; `reading` is one plain sentence on how they were chosen."""

    title: str
    samples: Sequence[Sample]
    reading: str = ""


@dataclass(frozen=True)
class Spread:
    """A median with the quartiles around it."""

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class EvidenceCell:
    """Patches of one cell of {class right, wrong} x {evidence right, wrong}.

    Args:
        class_right: whether the classifier named the right classes.
        evidence_right: whether its scores lie where the truth is.
        patients: patches by patient.
        statistics: e.g. "optical density", "tissue share", "tumour area" -> spread over patches.
    """

    class_right: bool
    evidence_right: bool
    patients: Mapping[str, int]
    statistics: Mapping[str, Spread] = field(default_factory=dict)

    @property
    def patches(self) -> int:
        """All patches of the cell."""
        return sum(self.patients.values())


@dataclass(frozen=True)
class EvidenceTable:
    """Right or wrong class against right or wrong evidence.

    Args:
        cells: the four cells, in any order; a missing one is empty.
        rule: when evidence counts as right, in words.
        protocol: where it differs from that of the report.
    """

    cells: Sequence[EvidenceCell]
    rule: str
    protocol: Protocol | None = None

    def __post_init__(self) -> None:
        kinds = [(cell.class_right, cell.evidence_right) for cell in self.cells]
        if len(set(kinds)) != len(kinds):
            raise ValueError(f"a cell of the evidence table occurs twice: {kinds}")

    def cell(self, class_right: bool, evidence_right: bool) -> EvidenceCell:
        """The cell of one kind; empty where there is none."""
        for cell in self.cells:
            if (cell.class_right, cell.evidence_right) == (class_right, evidence_right):
                return cell
        return EvidenceCell(class_right, evidence_right, {})


@dataclass(frozen=True)
class Curve:
    """One line of a training chart.

    Args:
        name: e.g. "training loss".
        steps: where values were taken (steps or epochs), increasing.
        values: as many; NaN leaves a gap.
        panel: curves of the same panel share one chart, e.g. "segmenter, loss".
        chosen: step of the checkpoint that was kept.
    """

    name: str
    steps: Sequence[float]
    values: Sequence[float]
    panel: str = "Training"
    chosen: float | None = None

    def __post_init__(self) -> None:
        if len(self.steps) != len(self.values):
            raise ValueError(
                f"curve {self.name!r} has {len(self.steps)} steps, {len(self.values)} values"
            )


@dataclass(frozen=True, eq=False)
class ReportData:
    """All that a report shows; parts without data are left out of the page.

    Args:
        title: e.g. "mlps on phantom".
        classes: names, and colours where colour-blind readers can tell them apart.
        protocol: of every figure that does not bring its own.
        ladder: steps from first to last; references (full supervision) at the end.
        created: time and date in words; given, so that equal data make equal files.
        n_patches: patches scored.
        n_patients: patients scored.
        interval_method: e.g. "95 % bootstrap over patients, 1000 draws".
        boundaries: boundary scores of the steps that have any.
        confusion: (K, K) pixels, rows = truth; (K, K+1) with pixels left without a class.
        patients: scores of single patients.
        galleries: best, median, worst and others.
        pseudo_masks: their quality before the segmenter, on held-out and perhaps on train images.
        labels: how well the classifier names the classes of patches.
        instances: how well it names single squares of tissue, where it is a classifier of those.
        looks: how well its scores lie on the tissue.
        faithfulness: insertion and deletion.
        evidence: analysis of misclassified patches.
        curves: training curves.
        provenance: nested names and values: software, data, stages, settings, weights.
        notes: further sentences that a reader must know.

    Raises:
        ValueError: a sequence does not hold one value for each class.
    """

    title: str
    classes: ClassSet
    protocol: Protocol
    ladder: Sequence[LadderRow]
    created: str = ""
    n_patches: int | None = None
    n_patients: int | None = None
    interval_method: str = ""
    boundaries: Sequence[MeasureTable] = ()
    confusion: npt.NDArray[np.integer] | None = None
    patients: Sequence[PatientRow] = ()
    galleries: Sequence[Gallery] = ()
    pseudo_masks: Sequence[PseudoMaskQuality] = ()
    labels: MeasureTable | None = None
    instances: MeasureTable | None = None
    looks: Sequence[MeasureTable] = ()
    faithfulness: Faithfulness | None = None
    evidence: EvidenceTable | None = None
    curves: Sequence[Curve] = ()
    provenance: Mapping[str, object] = field(default_factory=dict)
    notes: Sequence[str] = ()

    def __post_init__(self) -> None:
        k = len(self.classes)
        named: list[tuple[str, Sequence[object]]] = [(row.name, row.iou) for row in self.ladder]
        named += [(row.patient, row.iou) for row in self.patients]
        for quality in self.pseudo_masks:
            named += [("pseudo-masks", v) for v in (quality.iou, quality.precision, quality.recall)]
        tables = [*self.boundaries, *self.looks, *([self.labels] if self.labels else [])]
        named += [(m.name, m.classes) for table in tables for m in table.measures]
        for name, values in named:
            if len(values) != k:
                raise ValueError(f"{name!r} has {len(values)} values, expected {k}, one per class")
        matrices = [self.confusion, *(row.confusion for row in self.patients)]
        for matrix in matrices:
            if matrix is not None and matrix.shape not in ((k, k), (k, k + 1)):
                raise ValueError(f"confusion of shape {matrix.shape}, expected {(k, k)}")
