"""Write a synthetic data set to disk: in parallel, resumable, the same for any worker count."""

import json
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from histoweak.atomic import replacing
from histoweak.classes import ClassSet
from histoweak.data.images import read_mask
from histoweak.data.manifest import Manifest, Record
from histoweak.data.phantom.config import PhantomConfig
from histoweak.data.phantom.field import render_field
from histoweak.data.phantom.plan import PatchPlan, arrange, patient_sequence, plan_patches
from histoweak.data.phantom.regions import TISSUES
from histoweak.data.phantom.stain import PatientStyle
from histoweak.data.tile import present
from histoweak.errors import ImageError, OutputError
from histoweak.export.png import write_index_png
from histoweak.progress import Progress

CONFIG_FILE = "phantom.json"
GENERATOR_VERSION = 2
"""Grows whenever the same settings give other pixels, so that a folder never mixes two."""

CLASSES = ClassSet(TISSUES)


def write_phantom(
    out: Path, config: PhantomConfig, workers: int = 1, progress: Progress | None = None
) -> Path:
    """Generate a data set of synthetic H&E patches with exact masks.

    Writes `images/*.png`, `masks/*.png` (palette; 255 = white background), `manifest.csv`,
    `classes.json`, and `phantom.json` with the settings. A second call with the same settings
    makes only what is missing; the files are the same for any number of workers.

    Args:
        out: folder, new, empty or of an earlier call with the same settings.
        config: what to generate.
        workers: processes; with 1 the work is done in this one. With more, a script must call
            this under `if __name__ == "__main__"`.
        progress: shows how far it is.

    Returns:
        The path of the manifest.

    Raises:
        OutputError: the folder is not writable or holds something else.
    """
    _claim(out, config)
    plans = plan_patches(config)
    task = progress.task(len(plans), "phantom patches") if progress is not None else None
    records = []
    with task or nullcontext():
        for record in _made(out, config, plans, workers):
            records.append(record)
            if task is not None:
                task.advance(1)
    path = out / "manifest.csv"
    Manifest(CLASSES, tuple(records)).write(path)
    return path


def _made(
    out: Path, config: PhantomConfig, plans: tuple[PatchPlan, ...], workers: int
) -> Iterator[Record]:
    """Records in the order of the plans."""
    make = partial(_make_patch, out, config)
    if workers <= 1:
        yield from map(make, plans)
        return
    # Not fork: the parent may hold threads of its own (PyTorch, BLAS), whose locks a forked
    # child would inherit shut.
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        try:
            yield from pool.map(make, plans, chunksize=4)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _make_patch(out: Path, config: PhantomConfig, plan: PatchPlan) -> Record:
    """Render one patch unless it is there already, and describe it."""
    image = out / "images" / f"{plan.name}.png"
    target = out / "masks" / f"{plan.name}.png"
    size = config.patch_size
    try:
        mask = read_mask(target, len(CLASSES), (size, size)) if image.is_file() else None
    except ImageError:
        mask = None
    if mask is None:
        style = PatientStyle.draw(patient_sequence(config, plan.patient))
        seed, layout = arrange(plan, config)
        rgb, mask = render_field(size, size, config.mpp, seed, style, layout)
        with replacing(image) as temporary:
            Image.fromarray(rgb).save(temporary, format="PNG", compress_level=4)
        write_index_png(target, mask, CLASSES)
    patient = f"P{plan.patient:03d}"
    return Record(
        image=image,
        labels=present(mask, len(CLASSES), config.presence),
        mask=target,
        patient=patient,
        slide=f"{patient}-S1",
        split=plan.split,
        mpp=config.mpp,
    )


def _claim(out: Path, config: PhantomConfig) -> None:
    """Take a folder for these settings, refusing one that holds anything else."""
    stamp = out / CONFIG_FILE
    remedy = "Choose another folder, or remove this one if nothing needs it"
    new: dict[str, Any] = {"generator": GENERATOR_VERSION, **config.model_dump(mode="json")}
    try:
        if not stamp.exists() and out.exists() and any(out.iterdir()):
            raise OutputError("holds other files", where=out, remedy=remedy)
        for folder in ("images", "masks"):
            (out / folder).mkdir(parents=True, exist_ok=True)
        old = json.loads(stamp.read_text(encoding="utf-8")) if stamp.exists() else new
    except (OSError, ValueError) as error:
        raise OutputError(f"cannot be used ({error})", where=out, remedy=remedy) from error
    if old != new:
        known = old if isinstance(old, dict) else {}
        key = next((k for k in new if known.get(k) != new[k]), "generator")
        raise OutputError(
            f"holds a phantom with {key} = {known.get(key)!r}",
            where=stamp,
            expected=f"{key} = {new[key]!r}",
            remedy=remedy,
        )
    with replacing(stamp) as temporary:
        temporary.write_text(json.dumps(new, indent=2) + "\n", encoding="utf-8")
