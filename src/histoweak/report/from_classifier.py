"""What the evaluation found of a classifier and of the masks made from it, as report data."""

from collections.abc import Mapping, Sequence
from typing import Any

from histoweak.classes import ClassSet
from histoweak.metrics.evidence import MAX_LEAKAGE, MIN_LIFT
from histoweak.metrics.groups import confusions_from_dict
from histoweak.metrics.intervals import bootstrap
from histoweak.metrics.scores import miou_present
from histoweak.report.data import EvidenceCell, EvidenceTable, Spread
from histoweak.report.from_rungs import estimate_of, protocol_of
from histoweak.report.measures import (
    Estimate,
    Faithfulness,
    Measure,
    MeasureTable,
    PseudoMaskQuality,
)
from histoweak.report.protocol import Protocol

INTERVALS = "95 % bootstrap over patients, 500 draws"
LABELS = {
    "auroc": (
        "AUROC",
        "chance that a patch with the class gets a higher probability than one without it; "
        "0.5 is guessing, 1 is best",
    ),
    "average_precision": (
        "Average precision",
        "precision averaged over the recall; guessing reaches the share of patches that hold "
        "the class, 1 is best",
    ),
    "f1": (
        "F1",
        "harmonic mean of precision and recall when a class counts as named from a probability "
        "of 0.5 on; 1 is best",
    ),
    "calibration_error": (
        "Calibration error",
        "mean distance between the probability given and the share of patches that do hold the "
        "class, over 15 bins (ECE); 0 is best",
    ),
}
INSTANCES = {
    "sensitivity": (
        "Sensitivity",
        "share of the instances of the class that are found; 1 is best",
    ),
    "specificity": (
        "Specificity",
        "share of the instances of other classes that are not taken for it; 1 is best",
    ),
}
LOOKS = {
    "pointing_game": (
        "Pointing game",
        "share of patches with the class whose strongest pixel lies on it; a flat map reaches the "
        "share of area, 1 is best",
    ),
    "energy_lift": (
        "Energy lift",
        "share of the scores that lies on the class, less its share of the area; a flat map "
        "gets 0, more is better",
    ),
    "leakage": ("Leakage", "mean score on patches without the class; 0 is best"),
    "evidence_accuracy": (
        "EvAcc",
        "share of patches named rightly and on the right evidence: an energy lift of at least "
        f"{MIN_LIFT:g} where the class is, a leakage of at most {MAX_LEAKAGE:g} where it is not; "
        "1 is best",
    ),
}
PIXELS = {
    "average_precision": (
        "Pixel AP",
        "average precision of the scores over all pixels; guessing reaches the share of area",
    ),
    "auroc": ("Pixel AUROC", "AUROC of the scores over all pixels; 0.5 is guessing"),
    "iou_at_half": ("IoU at 0.5", "IoU of the pixels with a score of at least 0.5"),
    "max_iou": (
        "Best IoU",
        "IoU at the threshold that is best on these very pixels: an upper bound, no result",
    ),
}


def labels_table(figures: Mapping[str, Any], names: tuple[str, ...]) -> MeasureTable | None:
    """How well classes of patches are named; None where that was not measured."""
    found = figures.get("classification")
    if not found:
        return None
    intervals = found.get("intervals", {})

    def estimate(name: str, key: str, value: float | None) -> Estimate:
        return Estimate(value, _bounds(intervals.get(name, {}).get(key, (None, None))))

    measures = [
        Measure(
            word,
            meaning,
            [estimate(name, key, found["classes"][name][key]) for name in names],
            estimate("mean", key, found[f"mean_{key}"]),
        )
        for key, (word, meaning) in LABELS.items()
    ]
    return MeasureTable(
        measures,
        patches=found["patches"],
        counts=[found["classes"][name]["positives"] for name in names],
        interval_method=INTERVALS if intervals else "",
        protocol=protocol_of(figures, found),
    )


def instances_table(
    figures: Mapping[str, Any], found: Mapping[str, Any], names: tuple[str, ...]
) -> MeasureTable | None:
    """How well single instances are classified; None where no instance was labelled.

    Args:
        figures: content of `evaluation.json`.
        found: content of `instances.json`.
        names: of the classes.
    """
    if not found["instances"]:
        return None
    measures = []
    for key, (word, meaning) in INSTANCES.items():
        values = [found["classes"][name][key] for name in names]
        known = [value for value in values if value is not None]
        mean = Estimate(sum(known) / len(known) if known else None)
        measures.append(Measure(word, meaning, [Estimate(value) for value in values], mean))
    title = f"{found['instances']:,} instances, {found['accuracy']:.1%} named rightly"
    return MeasureTable(measures, title=title, protocol=protocol_of(figures, found))


def looks_tables(figures: Mapping[str, Any], names: tuple[str, ...]) -> list[MeasureTable]:
    """How well the scores lie on the tissue, patch by patch and pixel by pixel."""
    found = figures.get("evidence") or {}
    parts = (("Patch by patch", found, LOOKS), ("Pixel by pixel", found.get("pixels"), PIXELS))
    return [
        _looks(title, part, words, found, names, protocol_of(figures, found))
        for title, part, words in parts
        if part and "classes" in part
    ]


def _looks(
    title: str,
    part: Mapping[str, Any],
    words: Mapping[str, tuple[str, str]],
    found: Mapping[str, Any],
    names: tuple[str, ...],
    protocol: Protocol,
) -> MeasureTable:
    measures = [
        Measure(
            word,
            meaning,
            [_estimate(part["classes"][name][key]) for name in names],
            _estimate(part["mean"][key]),
        )
        for key, (word, meaning) in words.items()
    ]
    place = found["fields"].index("positives")
    tallies = found["patients"].values()
    counts = [int(sum(tally[k][place] for tally in tallies)) for k in range(len(names))]
    return MeasureTable(measures, title, found["patches"], counts, INTERVALS, protocol)


def faithfulness(figures: Mapping[str, Any]) -> Faithfulness | None:
    """Insertion and deletion; None where they were not tried."""
    found = figures.get("faithfulness")
    if not found:
        return None
    return Faithfulness(
        images=found["images"],
        probability=found["probability"],
        deletion=found["deletion"],
        insertion=found["insertion"],
        drop=found["drop"],
        # One plain pass for each changed picture, whatever augmentation the scores are made with.
        protocol=protocol_of(figures, {"tta": "none", "gate": "none"}),
    )


def evidence_table(figures: Mapping[str, Any]) -> EvidenceTable | None:
    """The analysis of misclassified patches; None where there is none."""
    evidence = figures.get("evidence")
    if not evidence or not evidence["patches"]:
        return None
    cells = [
        EvidenceCell(
            cell["class_right"],
            cell["evidence_right"],
            cell["patients"],
            {name: Spread(**spread) for name, spread in cell["statistics"].items()},
        )
        for cell in evidence["cells"]
    ]
    return EvidenceTable(cells, evidence["rule"], protocol_of(figures, evidence))


def held_out_masks(figures: Mapping[str, Any], classes: ClassSet) -> PseudoMaskQuality | None:
    """Pseudo-masks of held-out images, made without their labels; None where there are none."""
    quality = figures.get("pseudo_masks")
    if not quality:
        return None
    return mask_quality(
        quality,
        classes,
        title=f"On held-out images ({figures['split']}), made without their labels",
        reading=(
            "These are not the masks that the segmenter learned from. The same settings made them "
            "on images that no stage has seen, from the scores alone: no patch label ruled out a "
            "class. They say how good the scores are as teachers on new tissue."
        ),
        protocol=protocol_of(figures, quality),
        images=figures["images"],
    )


def training_masks(name: str, quality: Mapping[str, Any], classes: ClassSet) -> PseudoMaskQuality:
    """Masks that the segmenter did learn from, as `histoweak evaluate --pseudo-masks` saw them."""
    return mask_quality(
        quality,
        classes,
        title=f"On the training images ({name}), patch labels used",
        reading=(
            "These are the masks that the segmenter learned from. The patch labels decided which "
            "classes they may hold; where a label leaves no choice they cannot be wrong."
        ),
        protocol=protocol_of(quality, {"tta": quality["tta"] or "unknown"}),
        images=quality["images"],
    )


def mask_quality(
    quality: Mapping[str, Any],
    classes: ClassSet,
    *,
    title: str,
    reading: str,
    protocol: Protocol,
    images: int,
) -> PseudoMaskQuality:
    """Scores of `stages.pseudo_quality.quality` with the interval of their mean IoU."""
    by_class = [quality["classes"][name] for name in classes.names]
    contested = quality.get("contested")
    return PseudoMaskQuality(
        miou=_mean_iou(quality),
        coverage=Estimate(quality["coverage"]),
        accuracy=Estimate(quality["accuracy"]),
        iou=[scores["iou"] for scores in by_class],
        precision=[scores["precision"] for scores in by_class],
        recall=[scores["recall"] for scores in by_class],
        title=title,
        reading=reading,
        images=images,
        contested=contested and (contested["coverage"], contested["accuracy"]),
        protocol=protocol,
    )


def _mean_iou(quality: Mapping[str, Any]) -> Estimate:
    if not quality.get("patients"):
        return Estimate(quality["miou_present"])
    return estimate_of(bootstrap(confusions_from_dict(quality["patients"]).stacked(), miou_present))


def _estimate(entry: Mapping[str, Any]) -> Estimate:
    return Estimate(entry["estimate"], _bounds((entry["low"], entry["high"])))


def _bounds(pair: Sequence[float | None]) -> tuple[float, float] | None:
    low, high = pair
    return None if low is None or high is None else (low, high)
