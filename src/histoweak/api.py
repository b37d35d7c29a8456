"""The Python way to what `histoweak run` does."""

import json
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from histoweak.config import build_config, merge
from histoweak.data.manifest import Manifest
from histoweak.errors import WeightsError
from histoweak.inference.model import load_model
from histoweak.methods import find_method
from histoweak.methods.config import MethodConfig
from histoweak.pipeline import Run, is_leader
from histoweak.progress import Progress
from histoweak.recipes import DEFAULT, read_recipe
from histoweak.stages.evaluation import held_out
from histoweak.stages.mask_check import check_masks
from histoweak.training.repeatable import repeatable
from histoweak.training.selection import require_validation, selection_of, with_selection


@dataclass(frozen=True)
class Finished:
    """A finished run: its folder and the artefact folder of each stage."""

    folder: Path
    artefacts: Mapping[str, Path]

    @property
    def model(self) -> Path:
        """Folder of the final model, fit for `load_model`."""
        return self.folder / "model"

    @property
    def evaluation(self) -> Path | None:
        """The figures of the evaluation, as JSON; None where no held-out image had a mask."""
        folder = self.artefacts.get("evaluation")
        return None if folder is None else folder / "evaluation.json"


def configure(
    method: str, recipe: str = DEFAULT, settings: Sequence[Mapping[str, Any]] = ()
) -> MethodConfig:
    """Build the configuration of a method: recipe first, then each layer of settings.

    Raises:
        ConfigError: unknown method, recipe or key, or an invalid value.
    """
    module = find_method(method).load()
    values = merge([read_recipe(method, recipe), *settings])
    return build_config(module.Config, values, f"{method} ({recipe})")


def run_method(
    method: str,
    data: Path | str | Manifest,
    out: Path | str,
    *,
    recipe: str = DEFAULT,
    settings: Sequence[Mapping[str, Any]] = (),
    select: str | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    tensorboard: bool = False,
) -> Finished:
    """Run a method on a data set; run again, it resumes.

    Args:
        method: name in `METHODS`.
        data: a manifest or the path of one.
        out: run folder.
        recipe: named settings to start from.
        settings: nested settings that override the recipe, e.g. `[{"segmenter": {"crop": 160}}]`.
        select: choose the checkpoints of all networks by `last`, `val-label` or `val-mask`,
            whatever recipe and settings say.
        seed: the one seed that decides everything.
        progress: where to show progress.
        tensorboard: also write TensorBoard files (extra `tensorboard`).

    Raises:
        HistoweakError: whatever keeps the run from its end, with the remedy.
    """
    spec = find_method(method)
    config = configure(method, recipe, settings)
    if select is not None:
        config = with_selection(config, select)
    manifest = data if isinstance(data, Manifest) else Manifest.read(Path(data))
    # Weak supervision cannot read what it does not have.
    visible = manifest if spec.pixel_supervision else manifest.without_masks()
    stages = spec.load().build(config, manifest.classes)
    with nullcontext(progress) if progress is not None else Progress() as shown:
        # What would fail at the end of a long training is said before it, and before the run
        # folder is bound to data that are about to be corrected.
        visible.require_trainable()
        require_validation(visible, selection_of(config))
        _, scored = held_out(visible, config.evaluation)
        if not scored:
            judging = ("evaluation", "instance-evaluation")
            stages = [stage for stage in stages if stage.name not in judging]
        if is_leader() and not (Path(out) / "run.json").exists():
            check_masks(scored, len(manifest.classes), config.evaluation.max_skipped, shown)
        run = Run(
            Path(out),
            visible,
            seed,
            method=method,
            recipe=recipe,
            config=config,
            device=config.runtime.torch_device(),
            progress=shown,
            tensorboard=tensorboard,
        )
        with repeatable():
            finished = Finished(Path(out), run.execute(stages))
    if is_leader():
        _keep_model(finished)
    return finished


def _keep_model(finished: Finished) -> None:
    """Put the last model of the run, with its origin and figures, where people look for it."""
    final = [f / "model" for f in finished.artefacts.values() if (f / "model").is_dir()][-1]
    model = load_model(final)
    record = json.loads((finished.folder / "run.json").read_text(encoding="utf-8"))
    origin = {name: record[name] for name in ("method", "recipe", "seed")}
    origin["data_digest"] = record["data"]["digest"]
    measured: dict[str, Any] = {}
    if finished.evaluation is not None:
        figures = json.loads(finished.evaluation.read_text(encoding="utf-8"))
        last = figures["ladder"][-1]
        measured = {f"mIoU ({figures['split']})": last["miou_present"], "Dice": last["mean_dice"]}
        origin["select"] = figures["selection"]
        origin["evaluation"] = finished.evaluation.parent.name
    complete = replace(model, provenance=origin)
    # Other settings in the same run folder give another model; the same one stays untouched.
    try:
        known = load_model(finished.model).describe()
    except WeightsError:
        known = None
    if known != complete.describe():
        complete.save(finished.model, measured, overwrite=True)
