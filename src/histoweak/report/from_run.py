"""Gather what a report shows from the files of a finished run."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image

from histoweak.errors import OutputError
from histoweak.metrics.confusion import ConfusionMatrix
from histoweak.metrics.groups import Grouped
from histoweak.metrics.scores import iou, miou_present
from histoweak.pipeline.metrics_log import read_metrics
from histoweak.report.data import Curve, Gallery, PatientRow, ReportData, Sample
from histoweak.report.from_classifier import (
    evidence_table,
    faithfulness,
    held_out_masks,
    instances_table,
    labels_table,
    looks_tables,
    training_masks,
)
from histoweak.report.from_rungs import boundary_table, ladder_row, protocol_of, reference_row
from histoweak.report.measures import MeasureTable, PseudoMaskQuality
from histoweak.report.render import write_report
from histoweak.report.scored import ScoredRun, read_json, read_scored, require_comparable

GALLERIES = {
    "best": "Images with the highest mIoU of the last step.",
    "median": "Images in the middle of the ranking: what to expect.",
    "worst": "Images with the lowest mIoU: where the model fails.",
}
VALIDATION = "validation"
"""Name under which training logs the score that chooses a checkpoint."""
NO_CURVE = {"stage", "key", "time", "step", "lr"}
FEW_PATIENTS = 6
"""Below this many, percentile intervals are clearly narrower than they claim to be."""


def report_run(run: Path, reference: Path | None = None, masks: Path | None = None) -> Path:
    """Write `report.html` into a run folder and return its path.

    Args:
        run: folder of a finished run.
        reference: another one, scored on the same images, whose last rung is shown beside this
            run's as a yardstick; full supervision, as a rule.
        masks: what `histoweak evaluate --pseudo-masks` found of the run's training masks (JSON).

    Raises:
        OutputError: a folder holds no finished evaluation, `masks` is none of this run, or the
            report cannot be written.
        ManifestError: the two runs were not scored on the same images and masks.
    """
    scored = read_scored(run)
    yardstick = None if reference is None else read_scored(reference)
    if yardstick is not None:
        require_comparable(scored, yardstick)
    learned_from = [] if masks is None else _training_masks(masks, scored)
    out = run / "report.html"
    write_report(out, _collect(scored, yardstick, learned_from))
    return out


def _training_masks(path: Path, scored: ScoredRun) -> list[PseudoMaskQuality]:
    found = read_json(path)
    try:
        for name, quality in found.items():
            folder = scored.stage(name)
            if folder is None or folder.name != quality["artefact"]:
                raise ValueError(f"{name} {quality['artefact']} is no artefact of {scored.run}")
        return [training_masks(name, q, scored.classes) for name, q in found.items()]
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise OutputError(
            f"does not tell how good this run's training masks are ({error})",
            where=path,
            expected="what `histoweak evaluate --pseudo-masks RUN --json FILE` wrote of this run",
            remedy="Write it anew",
        ) from error


def _collect(
    scored: ScoredRun, yardstick: ScoredRun | None, learned_from: Sequence[PseudoMaskQuality] = ()
) -> ReportData:
    record, figures, classes = scored.record, scored.figures, scored.classes
    last = scored.patients
    protocol = protocol_of(figures, figures)
    ladder = [ladder_row(rung, figures, protocol) for rung in figures["ladder"]]
    if yardstick is not None:
        method = str(yardstick.record["method"])
        ladder.append(reference_row(yardstick.last, method, yardstick.figures, protocol))
    bounded = [boundary_table(rung, figures) for rung in figures["ladder"]]
    held_out = held_out_masks(figures, classes)
    return ReportData(
        title=f"{record['method']} on {_data_name(record)}",
        classes=classes,
        protocol=protocol,
        ladder=ladder,
        created=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        n_patches=figures["images"],
        n_patients=len(last.names),
        interval_method="95 % bootstrap over patients, 2000 draws",
        boundaries=[table for table in bounded if table is not None],
        confusion=last.total().tallies,
        patients=list(_patients(last, figures)),
        galleries=list(_galleries(scored.folder / "samples")),
        pseudo_masks=[*([] if held_out is None else [held_out]), *learned_from],
        labels=labels_table(figures, classes.names),
        instances=_instances(scored),
        looks=looks_tables(figures, classes.names),
        faithfulness=faithfulness(figures),
        evidence=evidence_table(figures),
        curves=_curves(scored),
        provenance=record if yardstick is None else {**record, "reference": yardstick.record},
        notes=list(_notes(scored, yardstick)),
    )


def _instances(scored: ScoredRun) -> MeasureTable | None:
    folder = scored.stage("instance-evaluation")
    if folder is None:
        return None
    found = read_json(folder / "instances.json")
    return instances_table(scored.figures, found, scored.classes.names)


def _data_name(record: Mapping[str, Any]) -> str:
    path = record["data"]["path"]
    return Path(path).parent.name if path else "data in memory"


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
    patients = len(scored.patients.names)
    if patients < FEW_PATIENTS:
        yield (
            f"{patients} patient{' was' if patients == 1 else 's were'} scored: intervals over so "
            "few are too narrow, or missing."
        )
    if yardstick is not None:
        yield (
            f"{yardstick.record['method']} is shown for comparison: it was run on its own, scored "
            "on the same images and masks, and is no step of this method."
        )
