"""Gather what a report shows from the files of a finished run."""

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image

from histoweak.classes import ClassSet
from histoweak.metrics.confusion import ConfusionMatrix
from histoweak.metrics.groups import Grouped, confusions_from_dict
from histoweak.metrics.intervals import bootstrap
from histoweak.metrics.scores import iou, miou_present
from histoweak.pipeline.metrics_log import read_metrics
from histoweak.report.data import (
    Curve,
    EvidenceCell,
    EvidenceTable,
    Gallery,
    LadderRow,
    PatientRow,
    Protocol,
    PseudoMaskQuality,
    ReportData,
    Sample,
    Spread,
)
from histoweak.report.render import write_report
from histoweak.report.scored import ScoredRun, read_scored, require_comparable

GALLERIES = {
    "best": "Images with the highest mIoU of the last step.",
    "median": "Images in the middle of the ranking: what to expect.",
    "worst": "Images with the lowest mIoU: where the model fails.",
}
VALIDATION = "validation"
"""Name under which training logs the score that chooses a checkpoint."""
NO_CURVE = {"stage", "key", "time", "step", "lr"}


def report_run(run: Path, reference: Path | None = None) -> Path:
    """Write `report.html` into a run folder and return its path.

    Args:
        run: folder of a finished run.
        reference: another one, scored on the same images, whose last rung is shown beside this
            run's as a yardstick; full supervision, as a rule.

    Raises:
        OutputError: a folder holds no finished evaluation, or cannot be written.
        ManifestError: the two runs were not scored on the same images and masks.
    """
    scored = read_scored(run)
    yardstick = None if reference is None else read_scored(reference)
    if yardstick is not None:
        require_comparable(scored, yardstick)
    out = run / "report.html"
    write_report(out, _collect(scored, yardstick))
    return out


def _collect(scored: ScoredRun, yardstick: ScoredRun | None) -> ReportData:
    record, figures, classes = scored.record, scored.figures, scored.classes
    last = scored.patients
    protocol = _protocol(figures, figures["tta"])
    ladder = [_rung(rung, figures, protocol) for rung in figures["ladder"]]
    if yardstick is not None:
        ladder.append(_reference(yardstick, protocol))
    return ReportData(
        title=f"{record['method']} on {_data_name(record)}",
        classes=classes,
        protocol=protocol,
        ladder=ladder,
        created=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        n_patches=figures["images"],
        n_patients=len(last.names),
        interval_method="95 % bootstrap over patients, 2000 draws",
        confusion=last.total().tallies,
        patients=list(_patients(last, figures)),
        galleries=list(_galleries(scored.folder / "samples")),
        pseudo_masks=_pseudo_masks(figures, classes),
        evidence=_evidence(figures),
        curves=_curves(scored),
        provenance=record if yardstick is None else {**record, "reference": yardstick.record},
        notes=list(_notes(scored, yardstick)),
    )


def _data_name(record: Mapping[str, Any]) -> str:
    path = record["data"]["path"]
    return Path(path).parent.name if path else "data in memory"


def _protocol(figures: Mapping[str, Any], tta: str) -> Protocol:
    return Protocol(
        figures["gate"], tta, figures["selection"], figures["split"], (figures["seed"],)
    )


def _rung(rung: Mapping[str, Any], figures: Mapping[str, Any], usual: Protocol) -> LadderRow:
    groups = confusions_from_dict(rung["patients"])
    tallies, total = groups.stacked(), groups.total()
    mean, by_class = bootstrap(tallies, miou_present), bootstrap(tallies, iou)
    pixels = int(total.tallies.sum())
    own = _protocol(figures, rung.get("tta", usual.tta))
    return LadderRow(
        name=rung["name"],
        iou=[scores["iou"] for scores in rung["classes"].values()],
        miou=rung["miou_present"],
        fwiou=rung["fwiou"],
        dice=rung["mean_dice"],
        accuracy=rung["pixel_accuracy"],
        interval=_bounds(mean.low, mean.high),
        coverage=int(total.matrix.sum()) / pixels if pixels else None,
        class_intervals=[_bounds(a, b) for a, b in zip(by_class.low, by_class.high, strict=True)],
        protocol=None if own == usual else own,
    )


def _reference(yardstick: ScoredRun, usual: Protocol) -> LadderRow:
    """The last rung of another run, named after its method."""
    named = {**yardstick.last, "name": f"{yardstick.record['method']}: {yardstick.last['name']}"}
    row = _rung(named, yardstick.figures, usual)
    values = {name: getattr(row, name) for name in LadderRow.__dataclass_fields__}
    return LadderRow(**{**values, "reference": True})


def _bounds(low: Any, high: Any) -> tuple[float, float] | None:
    return None if np.isnan(low) or np.isnan(high) else (float(low), float(high))


def _patients(groups: Grouped[ConfusionMatrix], figures: Mapping[str, Any]) -> Iterable[PatientRow]:
    counts: dict[str, int] = {}
    for item in figures["per_image"]:
        counts[item["patient"]] = counts.get(item["patient"], 0) + 1
    for name in groups.names:
        own = groups[name]
        yield PatientRow(
            patient=name,
            patches=counts.get(name, 0),
            miou=float(miou_present(own)),
            iou=[float(v) for v in iou(own)],
            confusion=own.tallies,
        )


def _pseudo_masks(figures: Mapping[str, Any], classes: ClassSet) -> PseudoMaskQuality | None:
    quality = figures.get("pseudo_masks")
    if quality is None:
        return None
    by_class = [quality["classes"][name] for name in classes.names]
    return PseudoMaskQuality(
        miou=quality["miou_present"],
        coverage=quality["coverage"],
        accuracy=quality["accuracy"],
        iou=[scores["iou"] for scores in by_class],
        precision=[scores["precision"] for scores in by_class],
        recall=[scores["recall"] for scores in by_class],
        protocol=_protocol(figures, quality["tta"]),
    )


def _evidence(figures: Mapping[str, Any]) -> EvidenceTable | None:
    evidence = figures.get("evidence")
    if evidence is None or not evidence["patches"]:
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
    return EvidenceTable(cells, evidence["rule"], _protocol(figures, evidence["tta"]))


def _galleries(folder: Path) -> Iterable[Gallery]:
    for group, reading in GALLERIES.items():
        samples = [_sample(item) for item in sorted(folder.glob(f"{group}-*"))]
        if samples:
            yield Gallery(group.capitalize(), samples, reading)


def _sample(folder: Path) -> Sample:
    about = json.loads((folder / "sample.json").read_text(encoding="utf-8"))

    def picture(name: str) -> Any:
        path = folder / name
        return np.asarray(Image.open(path)) if path.exists() else None

    scores = folder / "scores.tif"
    return Sample(
        name=about["image"],
        patient=about["patient"],
        image=picture("image.png"),
        prediction=picture("prediction.png"),
        miou=about["miou"],
        scores=tifffile.imread(scores) / 65535 if scores.exists() else None,
        pseudo_mask=picture("pseudo_mask.png"),
        truth=picture("truth.png"),
    )


def _curves(scored: ScoredRun) -> list[Curve]:
    """Losses of each training in one panel, the score that chose its checkpoint in another."""
    found = []
    for stage in scored.record["stages"]:
        lines: dict[str, list[tuple[float, float]]] = {}
        # Figures of other settings, tried in the same folder, are not those of this run.
        for entry in read_metrics(scored.run / "metrics.jsonl", stage["key"]):
            for name, value in entry.items():
                if name not in NO_CURVE and "step" in entry:
                    number = float("nan") if value is None else float(value)
                    lines.setdefault(name, []).append((entry["step"], number))
        chosen = _chosen(lines)
        found += [
            Curve(
                name,
                [step for step, _ in line],
                [value for _, value in line],
                f"{stage['name']}: {'validation score' if name == VALIDATION else 'loss'}",
                chosen,
            )
            for name, line in ((n, sorted(points)) for n, points in lines.items())
        ]
    return found


def _chosen(lines: Mapping[str, list[tuple[float, float]]]) -> float | None:
    """Step of the checkpoint that was kept: the first best validation score, or the last step."""
    if VALIDATION in lines:
        known = [(value, -step) for step, value in lines[VALIDATION] if not np.isnan(value)]
        return -max(known)[1] if known else None
    return max((step for line in lines.values() for step, _ in line), default=None)


def _notes(scored: ScoredRun, yardstick: ScoredRun | None) -> Iterable[str]:
    if scored.figures["skipped"]:
        yield f"{scored.figures['skipped']} images could not be used and are not in the figures."
    if scored.figures.get("pseudo_masks"):
        yield (
            f"Pseudo-masks are scored on the {scored.figures['split']} split and made from the "
            "scores alone. Those that the segmenter learned from lie on train images, where patch "
            "labels decide which classes may appear, so their figures differ. "
            "`histoweak evaluate --pseudo-masks` scores them where train masks are at hand."
        )
    if yardstick is not None:
        yield (
            f"{yardstick.record['method']} is shown for comparison: it was run on its own, scored "
            "on the same images and masks, and is no step of this method."
        )
