"""Synthetic images as files: a data set of its own, to look at or to train others on."""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from histoweak.atomic import replacing
from histoweak.classes import ClassSet
from histoweak.data.frames import FrameStore, build_frames
from histoweak.data.manifest import Manifest, Record
from histoweak.data.skips import Skips
from histoweak.errors import OutputError
from histoweak.export.png import overlay, write_index_png
from histoweak.progress import Progress
from histoweak.synthesis.bezier import bezier
from histoweak.synthesis.cache import PatchCache, cut_patches, no_single_class
from histoweak.synthesis.config import SynthesisConfig
from histoweak.synthesis.labels import classes_in
from histoweak.synthesis.mosaic import mosaic
from histoweak.synthesis.squares import NONE, single_class

Kind = Literal["mosaic", "bezier", "both"]
TABLE, SHEET = "manifest.csv", "contact-sheet.png"
PATIENT = "synthetic"
"""They mix patients of the training split, and so belong to no other split."""

SHOWN = 48
ACROSS = 8
PART = 64
"""Images that are made and written at once."""


@dataclass(frozen=True)
class Synthetic:
    """What was written: the manifest, the contact sheet, and the share of pixels of each class."""

    manifest: Path
    sheet: Path
    shares: tuple[float, ...]


def open_cache(
    manifest: Manifest,
    config: SynthesisConfig,
    folder: Path,
    *,
    mpp: float | None,
    limit: float,
    progress: Progress,
) -> PatchCache:
    """Decode the training patches of a single class, and hold them.

    Args:
        manifest: the data set.
        config: `side` and `white` are used.
        folder: for decoded pixels; may go once the cache is there.
        mpp: working scale in microns per pixel, None for each image's own.
        limit: share of images that may be unusable.
        progress: shows how far it is.

    Raises:
        ManifestError: no training rows, or a class without a patch to itself.
        ImageError: too many images cannot be used.
    """
    manifest.require_trainable()
    # Neither pixels nor place of any other patch are needed.
    records = [r for r in manifest.split("train") if single_class(r.labels) != NONE]
    if not records:
        raise no_single_class("training rows of the manifest")
    store: FrameStore = build_frames(
        records,
        len(manifest.classes),
        folder,
        mpp=mpp,
        assemble=True,
        with_masks=False,
        skips=Skips(len(records), limit),
        progress=progress,
    )
    return cut_patches(store, manifest.classes, config, folder)


def write_synthetic(
    manifest: Manifest,
    out: Path,
    config: SynthesisConfig,
    *,
    kind: Kind,
    number: int,
    size: int | None,
    mpp: float | None,
    seed: int,
    progress: Progress,
    limit: float = 0.05,
) -> Synthetic:
    """Write images, index masks, a manifest with labels that follow from the masks, and a sheet.

    Args:
        manifest: whose training patches are put together.
        out: folder without a manifest.
        config: the settings; `mosaic_share` counts for kind `both`.
        kind: which images; of both, mosaics come first.
        number: of images.
        size: side of an image in pixels, None for that of the patches.
        mpp: working scale in microns per pixel, None for each image's own.
        seed: decides everything.
        progress: shows how far it is.
        limit: share of images that may be unusable.

    Raises:
        OutputError: the folder holds a manifest, or cannot be written.
        ManifestError: as `open_cache`.
        ConfigError: as `bezier`.
    """
    if (out / TABLE).exists():
        raise OutputError("exists", where=out / TABLE, remedy="Choose another folder, or remove it")
    generator = torch.Generator().manual_seed(seed)
    mosaics = {"mosaic": number, "bezier": 0}.get(kind, round(number * config.mosaic_share))
    records: list[Record] = []
    shown: list[tuple[Tensor, Tensor]] = []
    pixels = np.zeros(256, np.int64)
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        cache = open_cache(manifest, config, Path(folder), mpp=mpp, limit=limit, progress=progress)
        size = size or cache.side
        task = progress.task(number, "making images")
        for name, count in (("mosaic", mosaics), ("bezier", number - mosaics)):
            for start in range(0, count, PART):
                n = min(PART, count - start)
                made = (
                    mosaic(cache, n, size, config.mosaic, generator)
                    if name == "mosaic"
                    else bezier(cache, n, size, config.bezier, generator)
                )
                names = [f"{name}_{start + i:06d}" for i in range(n)]
                records += _write_part(out, names, *made, manifest.classes, mpp)
                pixels += np.bincount(made[1].numpy().ravel(), minlength=256)
                # As many of either kind, from the beginning of each.
                shown += list(zip(*made, strict=True))[: _room(kind, name, start)]
                task.advance(n)
    sheet = out / SHEET
    _save(sheet, contact_sheet(shown, manifest.classes))
    Manifest(manifest.classes, tuple(records)).write(out / TABLE)
    shares = pixels[: len(manifest.classes)] / max(1, pixels.sum())
    return Synthetic(out / TABLE, sheet, tuple(shares.tolist()))


def _room(kind: Kind, name: str, start: int) -> int:
    """How many of a part that begins at `start` still fit on the sheet."""
    return max(0, (SHOWN // 2 if kind == "both" else SHOWN) - start)


def _write_part(
    out: Path,
    names: list[str],
    images: Tensor,
    masks: Tensor,
    classes: ClassSet,
    mpp: float | None,
) -> list[Record]:
    labels = classes_in(masks, len(classes)).int().tolist()
    records = []
    for name, image, mask, label in zip(names, images, masks, labels, strict=True):
        picture, truth = out / "images" / f"{name}.png", out / "masks" / f"{name}.png"
        _save(picture, _pixels(image))
        write_index_png(truth, mask.numpy(), classes)
        record = Record(picture, tuple(label), truth, PATIENT, PATIENT, "train", mpp)
        records.append(record)
    return records


def contact_sheet(made: list[tuple[Tensor, Tensor]], classes: ClassSet) -> npt.NDArray[np.uint8]:
    """Images and, below each row of them, the same with their masks drawn over them.

    Args:
        made: images (3, S, S) and masks (S, S), at least one.
        classes: gives the colours.

    Returns:
        (H, W, 3) uint8.
    """
    rows = []
    for start in range(0, len(made), ACROSS):
        part = [(_pixels(image), mask.numpy()) for image, mask in made[start : start + ACROSS]]
        blank = [np.full_like(part[0][0], 255)] * (min(len(made), ACROSS) - len(part))
        rows.append(np.concatenate([image for image, _ in part] + blank, axis=1))
        drawn = [overlay(image, mask, classes) for image, mask in part]
        rows.append(np.concatenate(drawn + blank, axis=1))
    return np.concatenate(rows)


def _pixels(image: Tensor) -> npt.NDArray[np.uint8]:
    return np.ascontiguousarray(image.permute(1, 2, 0).numpy())


def _save(path: Path, pixels: npt.NDArray[np.uint8]) -> None:
    with replacing(path) as working:
        Image.fromarray(pixels).save(working, format="PNG")
