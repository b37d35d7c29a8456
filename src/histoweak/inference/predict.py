"""Label many images: masks, overlays and a table of areas, resumable and robust."""

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from histoweak.atomic import replacing
from histoweak.classes import ClassSet
from histoweak.data.images import read_image
from histoweak.data.skips import Skips
from histoweak.data.table import write_table
from histoweak.errors import ImageError, OutputError
from histoweak.export.png import overlay, write_index_png
from histoweak.inference.areas import Areas, area_columns, count_pixels
from histoweak.inference.config import InferenceConfig
from histoweak.inference.found import find_images, output_names
from histoweak.inference.gating import GateRule
from histoweak.inference.journal import Journal, content_digest
from histoweak.inference.model import TissueModel
from histoweak.inference.readahead import read_ahead
from histoweak.pipeline.lock import FolderLock
from histoweak.progress import Progress

UInt8 = npt.NDArray[np.uint8]

OVERLAY_SIDE = 4096
"""Longest side of overlays in pixels: they are for looking at, the masks are the result."""

AREAS, SKIPPED, LOCK = "areas.csv", "skipped.csv", ".lock"
WRITES_WAITING = 2


@dataclass(frozen=True)
class Predicted:
    """What became of the images: done now, done before, and skipped with a reason each."""

    done: int
    resumed: int
    skipped: tuple[tuple[Path, str], ...]


def predict_images(
    model: TissueModel,
    images: Sequence[Path | str],
    out: Path,
    *,
    config: InferenceConfig | None = None,
    mpp: float | None = None,
    gate: GateRule | None = None,
    overlays: bool = True,
    progress: Progress | None = None,
) -> Predicted:
    """Label images and write what was found.

    `out` receives `masks/<name>.png` (class indices with the class palette), `overlays/<name>.png`,
    `areas.csv` (one row per image), `predict.json` (the settings) and, where there are any,
    `skipped.csv`. The name is the image's stem unless two images share it. Run again, images that
    are finished and unchanged are not redone; damaged ones are tried again.

    Args:
        model: the trained model.
        images: files, folders and patterns.
        out: output folder.
        config: tiles, batch, test-time augmentation.
        mpp: microns per pixel of all images, if known.
        gate: which classes may appear; `truth` is impossible here.
        overlays: also draw every mask over its image.
        progress: where to show progress.

    Raises:
        ImageError: nothing was found, or no image could be read.
        OutputError: not writable, used by another process, or made with other settings.
    """
    config, gate = config or InferenceConfig(), gate or GateRule()
    gate.require_classes(model.classes)
    paths = find_images(images, exclude=[out / "masks", out / "overlays"])
    _make_folders(out, overlays)
    with FolderLock(out / LOCK):
        journal = Journal(out, _settings(model, config, mpp, gate))
        work = _Work(model, out, config, mpp, gate, overlays, journal, output_names(
            paths, journal.names
        ))  # fmt: skip
        skips = Skips(len(paths), limit=1.0, log=out / SKIPPED)
        try:
            resumed = _predict_all(work, paths, skips, progress or Progress(quiet=True))
        finally:
            # Also when interrupted: the table fits the masks that are there.
            write_table(out / AREAS, area_columns(journal.areas, model.classes))
            skips.write(out / SKIPPED)
    done = len(paths) - resumed - len(skips)
    return Predicted(done, resumed, tuple(skips.reasons))


@dataclass(frozen=True)
class _Work:
    """What is the same for every image."""

    model: TissueModel
    out: Path
    config: InferenceConfig
    mpp: float | None
    gate: GateRule
    overlays: bool
    journal: Journal
    names: dict[Path, str]

    def mask(self, path: Path) -> Path:
        """Where the mask of an image goes."""
        return self.out / "masks" / f"{self.names[path]}.png"

    def overlay(self, path: Path) -> Path:
        """Where the overlay of an image goes."""
        return self.out / "overlays" / f"{self.names[path]}.png"


def _settings(
    model: TissueModel, config: InferenceConfig, mpp: float | None, gate: GateRule
) -> dict[str, Any]:
    """Everything that decides the outputs, and where the model came from."""
    tile, overlap = config.grid()
    return {
        "model": model.describe().model_dump(mode="json", exclude={"histoweak"}),
        "mpp": mpp,
        "tta": config.tta,
        "tile": tile,
        "overlap": overlap,
        "scales": config.scales,
        # None where there is none, as in folders from before there were refiners.
        "refine": [one.model_dump(mode="json") for one in config.refine] or None,
        "gate": str(gate),
        "gate_weights": None if gate.classifier is None else gate.classifier.describe().weights,
    }


def _make_folders(out: Path, overlays: bool) -> None:
    try:
        for folder in ("masks", *(["overlays"] if overlays else [])):
            (out / folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"cannot be made ({error.strerror or error})",
            where=out,
            remedy="Choose a folder that you may write to",
        ) from error


def _predict_all(work: _Work, paths: list[Path], skips: Skips, progress: Progress) -> int:
    """Label all images; return how many were finished before."""
    resumed = 0
    writing: deque[Future[None]] = deque()
    # Drawing and compressing PNGs takes as long as a small network: a thread of its own does it.
    with ThreadPoolExecutor(1, thread_name_prefix="write") as writer:
        for path, reading in progress.track(
            read_ahead(paths, partial(_read, work)), len(paths), "labelling images"
        ):
            with skips.catch(path):
                loaded = reading.result()
                if loaded is None:
                    resumed += 1
                    continue
                digest, image = loaded
                mask = _label(work, image)
                writing.append(writer.submit(_write, work, path, digest, image, mask))
            while len(writing) > WRITES_WAITING:
                writing.popleft().result()
        for written in writing:
            written.result()
    return resumed


def _read(work: _Work, path: Path) -> tuple[str, UInt8] | None:
    """Digest and pixels of an image, or None if it is finished."""
    wanted = (work.mask(path), *([work.overlay(path)] if work.overlays else []))
    if work.journal.is_finished(path, wanted):
        return None
    image = read_image(path)
    try:
        return content_digest(path), image
    except OSError as error:
        raise ImageError(f"cannot be read ({error})", remedy="Check the disk") from error


def _label(work: _Work, image: UInt8) -> UInt8:
    options: Any = work.config.model_dump()
    present = work.gate.present(image, work.mpp, **options)
    return work.model.predict(image, work.mpp, present, **options).array


def _write(work: _Work, path: Path, digest: str, image: UInt8, mask: UInt8) -> None:
    classes = work.model.classes
    write_index_png(work.mask(path), mask, classes)
    if work.overlays:
        write_overlay(work.overlay(path), image, mask, classes)
    size = (mask.shape[0], mask.shape[1])
    pixels = count_pixels(mask, len(classes))
    work.journal.add(digest, Areas(str(path), work.names[path], size, work.mpp, pixels))


def write_overlay(path: Path, image: UInt8, mask: UInt8, classes: ClassSet) -> None:
    """Write a mask drawn over its image as PNG, at most `OVERLAY_SIDE` pixels long.

    Raises:
        OutputError: not writable.
    """
    picture = Image.fromarray(image)
    longest = max(picture.size)
    if longest > OVERLAY_SIDE:
        small = (max(1, side * OVERLAY_SIDE // longest) for side in picture.size)
        picture = picture.resize((next(small), next(small)), Image.Resampling.BOX)
    drawn = Image.fromarray(overlay(np.asarray(picture), mask, classes))
    with replacing(path) as temporary:
        drawn.save(temporary, format="PNG")
