"""Stage `evaluation`: score every rung of the ladder on held-out images, each at its own size.

CAM (argmax of one plain pass), pseudo-mask (the refined scores), what the method adds, segmenter:
all predict the held-out images without their labels, so that their figures can be compared. Where
there is a classifier, what it says of each patch and where it looks is judged from the same
passes.

`evaluation.json` holds, besides the protocol of the figures (`split`, `gate`, `tta`, `selection`,
`seed`, counts of `images` and `skipped`, and `truth_digest`, which is equal for two runs that
were scored on the same masks):

- `ladder`, one entry per rung: `name`, `tta`, `gate`, `metrics.scores.summary`,
  `image_averaged_miou`, `boundary` (`mean_f`, `mean_iou`, `classes`; null where no image has a
  known fine scale), `patients` (one confusion matrix each) and `by_patient` (`images`,
  `image_averaged_miou`, and the tallies of `metrics.boundary.BoundaryTally`);
- `classification`: exact scores over the labelled patches, with `intervals` [low, high];
- `evidence`: `classes` and `mean` with the scores of `metrics.evidence`, `pixels` with the ranking
  measures of single pixels, `patients` with the tallies (`fields` names their columns), and
  `cells` with the analysis of misclassified patches by `rule`;
- `pseudo_masks`: quality on these images at the `threshold` of the training masks;
- `faithfulness`: insertion and deletion on a few images;
- `per_image`: the mIoU of the last rung.

Intervals are 95 % bootstrap intervals over patients. Nothing depends on the clock or the machine's
speed: the same run gives the same file.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field, SerializeAsAny

from histoweak.atomic import atomic_write_text
from histoweak.config import StrictConfig
from histoweak.data.manifest import Manifest, Record
from histoweak.data.skips import Skips
from histoweak.data.table import write_table
from histoweak.errors import ConfigError, ManifestError
from histoweak.export.png import write_index_png
from histoweak.inference.config import views
from histoweak.inference.evaluate import read_pair
from histoweak.inference.model import load_model
from histoweak.inference.readahead import read_ahead
from histoweak.metrics.confusion import ConfusionMatrix
from histoweak.metrics.ratio import plain
from histoweak.metrics.scores import miou_present
from histoweak.pipeline import Stage, StageContext
from histoweak.refine.config import files_of
from histoweak.stages.evaluation_config import EvaluationConfig
from histoweak.stages.judge import Judge
from histoweak.stages.pseudo_masks import PseudoMaskConfig
from histoweak.stages.rung import Rung, RungMaker, classifier_rungs, segmenter_rung
from histoweak.stages.rung_tally import RungTally
from histoweak.stages.samples import write_samples
from histoweak.stages.scores import ScoresConfig
from histoweak.stages.view import Viewer
from histoweak.training.config import RuntimeConfig, Select

UInt8 = npt.NDArray[np.uint8]


class EvaluationSetting(StrictConfig):
    """All that decides the figures: the settings, and what the method adds to them.

    `selection` is what chose the checkpoint, for the tables; `cam` and `pseudo` are the settings
    of scores and pseudo-masks, null for methods without them; `rungs` those of further rungs.
    """

    evaluation: EvaluationConfig
    selection: Select
    cam: ScoresConfig | None = None
    pseudo: PseudoMaskConfig | None = None
    rungs: dict[str, SerializeAsAny[StrictConfig] | None] = Field(default_factory=dict)


def evaluation_stage(
    config: EvaluationConfig,
    runtime: RuntimeConfig,
    *,
    segmenters: Sequence[str],
    cam: ScoresConfig | None,
    selection: Select,
    pseudo: PseudoMaskConfig | None = None,
    rungs: Sequence[RungMaker] = (),
) -> Stage:
    """Make the stage.

    Its artefact holds `evaluation.json`, `predictions/` (index PNGs of the last rung), `samples/`
    for the report and, where there is a classifier, `patches.csv` (what it said of each patch).

    Args:
        config: its settings.
        runtime: device.
        segmenters: stages whose `model/` is scored, in order.
        cam: settings of the scores; None for methods without a classifier.
        selection: what chose the checkpoint, for the tables.
        pseudo: settings of the pseudo-masks; None where scores do not become any.
        rungs: what the method adds between the classifier's rungs and the segmenters.

    Raises:
        ConfigError: a gate that needs a classifier, and none; or the form of a gate, and none.
    """
    if config.gate == "none" and config.gate_form != "exclude":
        raise ConfigError(
            f"evaluation.gate_form = {config.gate_form!r} with evaluation.gate = 'none'",
            expected="gate: predicted, for a gate to have a form",
            remedy="Leave evaluation.gate_form out, or set evaluation.gate=predicted",
        )
    if config.gate == "predicted" and cam is None:
        raise ConfigError(
            "evaluation.gate = 'predicted', but the method has no classifier",
            expected="gate: none",
            remedy="Leave it out; `histoweak evaluate --gate predicted` takes any classifier",
        )
    setting = EvaluationSetting(
        evaluation=config,
        selection=selection,
        cam=cam,
        pseudo=pseudo,
        rungs={rung.name: rung.setting for rung in rungs},
    )
    needed = [*(["classifier"] if cam else []), *(i for rung in rungs for i in rung.inputs)]
    inputs = tuple(dict.fromkeys([*needed, *segmenters]))
    run = partial(_run, setting, runtime, tuple(segmenters), tuple(rungs))
    files = files_of(pseudo.refine) if pseudo else ()
    return Stage("evaluation", setting, inputs, run, version=2, files=files)


def held_out(manifest: Manifest, config: EvaluationConfig) -> tuple[str, list[Record]]:
    """Name of the split that is scored, and its rows with masks.

    None where no image outside the training split has a mask: a data set of patch labels alone
    can be learned from, but what was learned cannot be measured.

    Raises:
        ManifestError: there are masks, but none in the split that is to be scored.
    """
    split = config.split or ("test" if manifest.split("test") else "val")
    records = [r for r in manifest.split(split) if r.mask is not None]
    masked = any(r.mask is not None for r in manifest.records if r.split != "train")
    if not records and (masked or config.split is not None):
        raise ManifestError(
            f"no row of split {split!r} has a mask",
            where=manifest.path,
            expected="held-out images with masks, to measure what was learned",
            remedy="Add masks to val or test rows; `histoweak data split` assigns splits",
        )
    return split, records


def _run(
    setting: EvaluationSetting,
    runtime: RuntimeConfig,
    segmenters: tuple[str, ...],
    makers: tuple[RungMaker, ...],
    context: StageContext,
) -> None:
    config, classes = setting.evaluation, context.manifest.classes
    split, records = held_out(context.manifest, config)
    device = runtime.torch_device()
    models = {n: load_model(context.inputs[n] / "model", device=device) for n in segmenters}
    rungs = [make(context.inputs, device) for make in makers]
    rungs += [segmenter_rung(name, model, config) for name, model in models.items()]
    judge = None
    if setting.cam is not None:
        classifier = load_model(context.inputs["classifier"] / "model", device=device)
        refiners = setting.pseudo.refine if setting.pseudo else ()
        viewer = Viewer(classifier, setting.cam, config.tile, refiners=refiners)
        rungs = [*classifier_rungs(setting.cam, refined=setting.pseudo is not None), *rungs]
        judge = Judge(config, setting.pseudo, viewer, context, len(records))
    scored = _score(config, context, records, rungs, judge)
    figures: dict[str, Any] = {
        "classes": classes.to_dict(),
        "split": split,
        "gate": config.gate_words(),
        "tta": views(config.tta, config.scales),
        **scored.counts(),
        "seed": context.seed,
        "selection": setting.selection,
        "ladder": [
            {"name": rung.name, "tta": rung.tta, "gate": rung.gate, **tally.figures(classes.names)}
            for rung, tally in zip(rungs, scored.tallies, strict=True)
        ],
        **(judge.figures() if judge else {}),
        "per_image": scored.per_image,
    }
    if judge is not None and judge.sums is not None:
        write_table(context.out / "patches.csv", judge.sums.table())
    seen = (judge.viewer, judge.pseudo) if judge else (None, None)
    write_samples(context.out, config.samples, records, scored.per_image, classes, *seen)
    atomic_write_text(context.out / "evaluation.json", json.dumps(figures, indent=2))


@dataclass(frozen=True)
class Scored:
    """What the pass over the images left: one tally per rung, and a row per image."""

    tallies: list[RungTally]
    per_image: list[dict[str, Any]]
    skipped: int
    truth_digest: str

    def counts(self) -> dict[str, Any]:
        """How many images stand behind the figures, and which."""
        images = len(self.per_image)
        return {"images": images, "skipped": self.skipped, "truth_digest": self.truth_digest}


def _score(
    config: EvaluationConfig,
    context: StageContext,
    records: Sequence[Record],
    rungs: Sequence[Rung],
    judge: Judge | None,
) -> Scored:
    classes, tolerance = context.manifest.classes, config.tolerance_um
    bounded = {"all": len(rungs), "last": 1, "none": 0}[config.boundary]
    tallies = [
        RungTally(len(classes), tolerance if left <= bounded else None)
        for left in range(len(rungs), 0, -1)
    ]
    predictions = context.out / "predictions"
    skips = Skips(len(records), config.max_skipped, context.out / "skipped.csv")
    per_image: list[dict[str, Any]] = []
    digest = hashlib.sha256()
    pairs = read_ahead(records, partial(read_pair, len(classes)))
    shown = context.progress.track(enumerate(pairs), len(records), "evaluating")
    for index, (record, reading) in shown:
        with skips.catch(record.image):
            image, truth = reading.result()
            view = judge.viewer(image, record.mpp) if judge else None
            masks = [rung.predict(image, record.mpp, view) for rung in rungs]
            for tally, mask in zip(tallies, masks, strict=True):
                tally.update(record.patient, mask, truth, record.mpp)
            if judge is not None and view is not None:
                judge.update(index, record, image, truth, view)
            write_index_png(predictions / f"{index:06d}.png", masks[-1], classes)
            about = {"index": index, "image": str(record.image), "patient": record.patient}
            per_image.append({**about, "miou": _miou(masks[-1], truth, len(classes))})
            name = [record.image.name, record.patient, truth.shape]
            digest.update(json.dumps(name).encode() + truth.tobytes())
    skips.write(context.out / "skipped.csv")
    return Scored(tallies, per_image, len(skips), digest.hexdigest())


def _miou(mask: UInt8, truth: UInt8, n_classes: int) -> float | None:
    own = ConfusionMatrix(n_classes)
    own.update(mask, truth)
    value: float | None = plain(miou_present(own))
    return value
