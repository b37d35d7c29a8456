"""Gather what a report shows from the files of a finished run."""

import json
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image

from histoweak.classes import ClassSet
from histoweak.errors import OutputError
from histoweak.metrics.confusion import ConfusionMatrix
from histoweak.metrics.groups import Grouped, confusions_from_dict
from histoweak.metrics.intervals import bootstrap
from histoweak.metrics.scores import iou, miou_present
from histoweak.pipeline.metrics_log import read_metrics
from histoweak.report.data import (
    Curve,
    Gallery,
    LadderRow,
    PatientRow,
    Protocol,
    ReportData,
    Sample,
)
from histoweak.report.render import write_report

GALLERIES = {
    "best": "Images with the highest mIoU of the last step.",
    "median": "Images in the middle of the ranking: what to expect.",
    "worst": "Images with the lowest mIoU: where the model fails.",
}


def report_run(run: Path) -> Path:
    """Write `report.html` into a run folder and return its path.

    Raises:
        OutputError: the folder holds no finished evaluation.
    """
    record = _read_json(run / "run.json")
    stages = {stage["name"]: stage.get("folder", "") for stage in record["stages"]}
    folder = run / stages.get("evaluation", "")
    figures = _read_json(folder / "evaluation.json")
    out = run / "report.html"
    write_report(out, _collect(run, record, folder, figures))
    return out


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise OutputError(
            f"no finished run ({error})",
            where=path,
            remedy="Run `histoweak run` to its end first",
        ) from error
    return content


def _collect(
    run: Path, record: dict[str, Any], folder: Path, figures: dict[str, Any]
) -> ReportData:
    classes = ClassSet.from_dict(figures["classes"])
    rungs = figures["ladder"]
    last = confusions_from_dict(rungs[-1]["patients"])
    protocol = Protocol(
        figures["gate"], figures["tta"], figures["selection"], figures["split"], (figures["seed"],)
    )
    return ReportData(
        title=f"{record['method']} on {Path(record['data']['path']).parent.name}",
        classes=classes,
        protocol=protocol,
        ladder=[_rung(rung, classes) for rung in rungs],
        created=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        n_patches=figures["images"],
        n_patients=len(last.names),
        interval_method="95 % bootstrap over patients, 2000 draws",
        confusion=last.total().tallies,
        patients=list(_patients(last, figures)),
        galleries=list(_galleries(folder / "samples")),
        curves=_curves(run),
        provenance=record,
    )


def _rung(rung: dict[str, Any], classes: ClassSet) -> LadderRow:
    tallies = confusions_from_dict(rung["patients"]).stacked()
    total = bootstrap(tallies, miou_present)
    by_class = bootstrap(tallies, iou)
    return LadderRow(
        name=rung["name"],
        iou=[rung["classes"][name]["iou"] for name in classes.names],
        miou=rung["miou_present"],
        fwiou=rung["fwiou"],
        dice=rung["mean_dice"],
        accuracy=rung["pixel_accuracy"],
        interval=_bounds(total.low, total.high),
        class_intervals=[_bounds(a, b) for a, b in zip(by_class.low, by_class.high, strict=True)],
    )


def _bounds(low: Any, high: Any) -> tuple[float, float] | None:
    return None if np.isnan(low) or np.isnan(high) else (float(low), float(high))


def _patients(groups: Grouped[ConfusionMatrix], figures: dict[str, Any]) -> Iterable[PatientRow]:
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
    about = _read_json(folder / "sample.json")

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


def _curves(run: Path) -> list[Curve]:
    points: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for entry in read_metrics(run / "metrics.jsonl"):
        for name, value in entry.items():
            if name in ("stage", "key", "time", "step", "lr") or "step" not in entry:
                continue
            number = float("nan") if value is None else float(value)
            points.setdefault((entry["stage"], name), []).append((entry["step"], number))
    return [
        Curve(name, [s for s, _ in line], [v for _, v in line], panel=stage)
        for (stage, name), line in points.items()
    ]
