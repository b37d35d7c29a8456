"""Stage `evaluation`: score every rung of the ladder on held-out images, each at its own size.

CAM (argmax of one plain pass), pseudo-mask (the refined scores), segmenter: all three predict
the held-out images without their labels, so that their figures can be compared.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydantic import Field

from histoweak.classes import IGNORE_INDEX
from histoweak.config import StrictConfig
from histoweak.data.images import read_image, read_mask
from histoweak.data.manifest import Manifest, Record
from histoweak.data.skips import Skips
from histoweak.errors import ManifestError
from histoweak.export.png import write_index_png
from histoweak.inference.model import TissueModel, load_model
from histoweak.inference.tta import Tta
from histoweak.metrics.confusion import ConfusionMatrix
from histoweak.metrics.groups import Grouped, confusions_to_dict
from histoweak.metrics.scores import summary
from histoweak.pipeline import Stage, StageContext
from histoweak.stages.scores import ScoresConfig, write_scores
from histoweak.training.config import RuntimeConfig, Select

UInt8 = npt.NDArray[np.uint8]


class EvaluationConfig(StrictConfig):
    """What is scored and how.

    `split` is scored (`test`, or `val` where there is no test split, when null); segmenters
    predict with `tta`; `samples` images are kept with all intermediate pictures for the report.
    """

    split: Literal["val", "test"] | None = None
    tta: Tta = "none"
    tile: int = Field(1024, ge=64)
    samples: int = Field(9, ge=0)
    max_skipped: float = Field(0.05, ge=0, le=1)


@dataclass(frozen=True)
class Rung:
    """One step of the ladder: its name and how it predicts an image."""

    name: str
    predict: Callable[[UInt8, float | None], UInt8]


def evaluation_stage(
    config: EvaluationConfig,
    runtime: RuntimeConfig,
    *,
    segmenters: Sequence[str],
    cam: ScoresConfig | None,
    selection: Select,
) -> Stage:
    """Make the stage.

    Its artefact holds `evaluation.json`, `predictions/` (index PNGs of the last rung) and
    `samples/` for the report.

    Args:
        config: its settings.
        runtime: device.
        segmenters: stages whose `model/` is scored, in order.
        cam: settings of the scores; None for methods without a classifier.
        selection: what chose the checkpoint, for the tables.
    """
    inputs = (*(["classifier"] if cam else []), *segmenters)
    run = partial(_run, config, runtime, tuple(segmenters), cam, selection)
    return Stage("evaluation", config, inputs, run)


def held_out(manifest: Manifest, config: EvaluationConfig) -> tuple[str, list[Record]]:
    """Name of the split that is scored, and its rows with masks.

    Raises:
        ManifestError: there are none.
    """
    split = config.split or ("test" if manifest.split("test") else "val")
    records = [r for r in manifest.split(split) if r.mask is not None]
    if not records:
        raise ManifestError(
            f"no row of split {split!r} has a mask",
            where=manifest.path,
            expected="held-out images with masks, to measure what was learned",
            remedy="Add masks to val or test rows; `histoweak data split` assigns splits",
        )
    return split, records


def _run(
    config: EvaluationConfig,
    runtime: RuntimeConfig,
    segmenters: tuple[str, ...],
    cam: ScoresConfig | None,
    selection: Select,
    context: StageContext,
) -> None:
    manifest = context.manifest
    split, records = held_out(manifest, config)
    device = runtime.torch_device()
    rungs: list[Rung] = []
    classifier: TissueModel | None = None
    if cam is not None:
        classifier = load_model(context.inputs["classifier"] / "model", device=device)
        rungs += cam_rungs(classifier, cam, config)
    for name in segmenters:
        model = load_model(context.inputs[name] / "model", device=device)
        rungs.append(Rung(name, _predictor(model, config.tta, config.tile)))
    n_classes = len(manifest.classes)
    tallies = {rung.name: Grouped(lambda: ConfusionMatrix(n_classes)) for rung in rungs}
    per_image: list[dict[str, Any]] = []
    predictions = context.out / "predictions"
    predictions.mkdir(exist_ok=True)
    skips = Skips(len(records), config.max_skipped, context.out / "skipped.csv")
    for index, record in context.progress.track(enumerate(records), len(records), "evaluating"):
        with skips.catch(record.image):
            image, truth = _read(record, n_classes)
            for rung in rungs:
                mask = rung.predict(image, record.mpp)
                tallies[rung.name][record.patient].update(mask, truth)
            own = ConfusionMatrix(n_classes)
            own.update(mask, truth)
            name = f"{index:06d}.png"
            write_index_png(predictions / name, mask, manifest.classes)
            miou = summary(own, manifest.classes.names)["miou_present"]
            about = {"index": index, "image": str(record.image), "patient": record.patient}
            per_image.append({**about, "miou": miou})
    if len(skips):
        skips.write(context.out / "skipped.csv")
    figures = {
        "classes": manifest.classes.to_dict(),
        "split": split,
        "gate": "none",
        "tta": config.tta,
        "images": len(per_image),
        "skipped": len(skips),
        "seed": context.seed,
        "selection": selection,
        "ladder": [_figures(name, by, manifest.classes.names) for name, by in tallies.items()],
        "per_image": per_image,
    }
    _write_samples(config, context, records, per_image, classifier, cam, predictions)
    (context.out / "evaluation.json").write_text(json.dumps(figures, indent=2), encoding="utf-8")


def cam_rungs(classifier: TissueModel, cam: ScoresConfig, config: EvaluationConfig) -> list[Rung]:
    """The two rungs below the segmenter: the plain CAM, and its refined scores."""
    return [
        Rung("CAM", _predictor(classifier, "none", config.tile)),
        Rung("pseudo-mask", _predictor(classifier, cam.tta, config.tile)),
    ]


def _predictor(model: TissueModel, tta: Tta, tile: int) -> Callable[[UInt8, float | None], UInt8]:
    def predict(image: UInt8, mpp: float | None) -> UInt8:
        return model.predict(image, mpp, tta=tta, tile=tile).array

    return predict


def _read(record: Record, n_classes: int) -> tuple[UInt8, UInt8]:
    image = read_image(record.image)
    if record.mask is None:
        raise ValueError("records without masks were left out")
    return image, read_mask(record.mask, n_classes, image.shape[:2])


def _figures(name: str, by: Grouped[ConfusionMatrix], names: tuple[str, ...]) -> dict[str, Any]:
    return {"name": name, **summary(by.total(), names), "patients": confusions_to_dict(by)}


def _write_samples(
    config: EvaluationConfig,
    context: StageContext,
    records: Sequence[Record],
    per_image: list[dict[str, Any]],
    classifier: TissueModel | None,
    cam: ScoresConfig | None,
    predictions: Path,
) -> None:
    """Keep best, median and worst images with everything the report shows of them."""
    ranked = sorted((p for p in per_image if p["miou"] is not None), key=lambda p: p["miou"])
    third = max(1, config.samples // 3)
    middle = max(0, len(ranked) // 2 - third // 2)
    chosen = {"worst": ranked[:third], "median": ranked[middle : middle + third]}
    chosen["best"] = ranked[::-1][:third]
    if not config.samples:
        return
    for group, items in chosen.items():
        for place, item in enumerate(items):
            folder = context.out / "samples" / f"{group}-{place}"
            folder.mkdir(parents=True, exist_ok=True)
            record = records[item["index"]]
            image, truth = _read(record, len(context.manifest.classes))
            Image.fromarray(image).save(folder / "image.png")
            classes = context.manifest.classes
            write_index_png(folder / "truth.png", truth, classes)
            source = predictions / f"{item['index']:06d}.png"
            (folder / "prediction.png").write_bytes(source.read_bytes())
            if classifier is not None and cam is not None:
                scores = classifier.probs(image, record.mpp, tta=cam.tta, tile=config.tile)
                write_scores(folder / "scores.tif", scores)
                sure = np.where(scores.max(axis=0) >= 0.70, scores.argmax(axis=0), IGNORE_INDEX)
                size = image.shape[1], image.shape[0]
                enlarged = Image.fromarray(sure.astype(np.uint8)).resize(size, 0)
                write_index_png(folder / "pseudo_mask.png", np.asarray(enlarged), classes)
            about = {"image": record.image.stem, "patient": record.patient, "miou": item["miou"]}
            (folder / "sample.json").write_text(json.dumps({**about, "group": group}))
