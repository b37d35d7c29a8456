"""Training an encoder without labels: the Python way to what `histoweak pretrain` does."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from histoweak.atomic import atomic_path
from histoweak.classes import ClassSet
from histoweak.config import StrictConfig, build_config, merge
from histoweak.data.manifest import Manifest, Record
from histoweak.errors import ManifestError
from histoweak.inference.found import find_images
from histoweak.objectives.agreement import require_lightly
from histoweak.pipeline import Run, is_leader
from histoweak.progress import Progress
from histoweak.recipes import DEFAULT, read_recipe
from histoweak.stages.frames import FramesConfig, frames_stage
from histoweak.stages.pretrain import ENCODER, PretrainConfig, pretrain_stage
from histoweak.training.config import RuntimeConfig
from histoweak.training.repeatable import repeatable

NAME = "pretrain"
START_KEYS = {
    "camel": "cmil.net.weights",
    "drs": "classifier.net.weights",
    "histosegnet": "classifier.net.weights",
    "hisynseg": "segmenter.net.weights",
    "irn": "classifier.net.weights",
    "mlps": "classifier.net.weights",
    "supervised": "segmenter.net.weights",
    "vgg-cam": "classifier.net.weights",
}
"""The setting of each method by which its first network starts from a file of weights."""


class PretrainingConfig(StrictConfig):
    """All settings of `histoweak pretrain`."""

    frames: FramesConfig = FramesConfig()
    pretrain: PretrainConfig = PretrainConfig()
    runtime: RuntimeConfig = RuntimeConfig()


def pretrain(
    data: Path | str | Manifest,
    out: Path | str,
    *,
    recipe: str = DEFAULT,
    settings: Sequence[Mapping[str, Any]] = (),
    seed: int = 0,
    progress: Progress | None = None,
    tensorboard: bool = False,
) -> Path:
    """Train an encoder on unlabelled patches; run again, it resumes.

    Args:
        data: a folder of images, a manifest, or the path of one. Of a manifest, rows of the train
            split and unassigned rows are used, never those of val and test; labels and masks are
            not looked at.
        out: run folder.
        recipe: named settings to start from.
        settings: nested settings that override the recipe.
        seed: the one seed that decides everything.
        progress: where to show progress.
        tensorboard: also write TensorBoard files (extra `tensorboard`).

    Returns:
        The safetensors file of the encoder, for the setting of a method in `START_KEYS`, and for
        `segmenter.net.weights` where there is a segmenter.

    Raises:
        HistoweakError: whatever keeps the run from its end, with the remedy.
    """
    require_lightly()
    values = merge([read_recipe(NAME, recipe), *settings])
    config = build_config(PretrainingConfig, values, f"{NAME} ({recipe})")
    out = Path(out)
    manifest = unlabelled(data, out)
    stages = [frames_stage(config.frames), pretrain_stage(config.pretrain, config.runtime)]
    with nullcontext(progress) if progress is not None else Progress() as shown:
        run = Run(
            out,
            manifest,
            seed,
            method=NAME,
            recipe=recipe,
            config=config,
            device=config.runtime.torch_device(),
            progress=shown,
            tensorboard=tensorboard,
        )
        with repeatable():
            artefact = run.execute(stages)[NAME]
    kept = out / ENCODER
    if is_leader():
        with atomic_path(kept) as path:
            path.write_bytes((artefact / ENCODER).read_bytes())
    return kept


def unlabelled(data: Path | str | Manifest, out: Path) -> Manifest:
    """The images to learn from, as train rows without labels and masks.

    Args:
        data: as in `pretrain`.
        out: folder that is left out of the search for images.

    Raises:
        ManifestError: there is no such image, or the folder has a manifest of its own.
    """
    if isinstance(data, str | Path) and Path(data).is_dir():
        _refuse_table(Path(data))
        images = find_images([data], exclude=[out])
        records = tuple(_record(path, Path(data).resolve()) for path in images)
        return Manifest(ClassSet(("tissue",)), records)
    if not isinstance(data, Manifest):
        data = Manifest.read(Path(data), check_splits=False)
    records = tuple(
        replace(record, labels=(), mask=None, split="train")
        for record in data.records
        if record.split in ("train", "")
    )
    if not records:
        raise ManifestError(
            "no train rows and no unassigned rows",
            where=data.path,
            expected="images that are not held out",
            remedy="Give a folder of images, or leave the split of some rows empty",
        )
    return replace(data, records=records)


def _refuse_table(folder: Path) -> None:
    """Refuse a folder whose manifest tells masks and held-out images from those to learn from."""
    for table in (folder / "manifest.csv", folder / "manifest.parquet"):
        if table.exists():
            raise ManifestError(
                "the folder would be searched for all images, masks and held-out ones too",
                where=table,
                expected="a folder of images to learn from, or a manifest",
                remedy=f"Give {table} in place of the folder, or a subfolder of images",
            )


def _record(path: Path, folder: Path) -> Record:
    """An image found in a folder; its subfolder stands for the patient."""
    # A link may lead out of the folder.
    inside = path.is_relative_to(folder)
    above = path.parent.relative_to(folder).as_posix() if inside else path.parent.name
    return Record(path, patient=above, slide=above, split="train")
