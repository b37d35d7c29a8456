"""Cut annotated images into patches whose labels come from the masks.

With size 112, stride 56 and presence 5 % this is the protocol by which OEEM (Li et al., MICCAI
2022, section 3.1) made a weakly labelled data set of GlaS.
"""

import hashlib
import itertools
import json
import math
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydantic import Field

from histoweak.atomic import replacing
from histoweak.classes import ClassSet
from histoweak.config import StrictConfig
from histoweak.data.images import read_image, read_mask
from histoweak.data.manifest import CLASS_FILE, Manifest, Record
from histoweak.data.skips import DEFAULT_LIMIT, Skips
from histoweak.errors import ImageError, ManifestError, OutputError
from histoweak.export.png import write_index_png
from histoweak.progress import Progress

UInt8 = npt.NDArray[np.uint8]


class TileConfig(StrictConfig):
    """How images are cut.

    Args:
        size: height and width of a patch in pixels.
        stride: step from one patch to the next in pixels.
        presence: a class is present where it covers more than this share of all the patch's
            pixels, ignored ones included.
        flush: add a last row and column that end at the border, where the stride leaves a rest.
        keep_empty: keep patches in which no class is present, with a label of zeros.
        mpp: microns per pixel of images that state none.
    """

    size: int = Field(112, ge=1)
    stride: int = Field(56, ge=1)
    presence: float = Field(0.05, ge=0, lt=1)
    flush: bool = True
    keep_empty: bool = False
    mpp: float | None = Field(None, gt=0)


def starts(length: int, config: TileConfig) -> list[int]:
    """First pixels of the patches along an axis of `length` pixels; none when it is too short."""
    last = length - config.size
    found = list(range(0, last + 1, config.stride))
    if found and config.flush and found[-1] != last:
        found.append(last)
    return found


def present(mask: UInt8, n_classes: int, presence: float) -> tuple[int, ...]:
    """Label of a mask: 1 for each class that covers more than the share `presence` of it."""
    counts = np.bincount(mask.ravel(), minlength=n_classes)[:n_classes]
    # As a fraction: 0.29 * 100 is less than 29 in floating point.
    least = math.floor(Fraction(str(presence)) * mask.size)
    return tuple(int(count > least) for count in counts)


def tile_images(
    records: Sequence[Record],
    out: Path,
    classes: ClassSet,
    config: TileConfig,
    *,
    keep_whole: Sequence[str] = (),
    workers: int = 1,
    progress: Progress | None = None,
    limit: float = DEFAULT_LIMIT,
) -> tuple[Manifest, Skips]:
    """Cut images into patches and write `manifest.csv` with a label for each.

    Writes `images/` and `masks/` (PNG, named source_y_x), `tiles/` (what was cut, by which a
    second call takes up the work), `tile.json`, `classes.json`, and `skipped.csv` where images
    could not be used. The files are the same for any number of workers.

    Args:
        records: images with masks; their labels, if any, are not used.
        out: folder to write to.
        classes: what the values of the masks mean.
        config: size, stride, threshold.
        keep_whole: splits whose images enter the manifest uncut, where they are, labelled by
            every class that their mask holds: test images are judged at their own size.
        workers: number of threads.
        progress: shows how far it is.
        limit: share of images that may be unusable.

    Returns:
        The manifest as written, and the skipped images.

    Raises:
        ManifestError: an image without mask, or two to be cut with one name.
        ImageError: too many images cannot be used.
        OutputError: not writable, or the folder holds other tiles.
    """
    _refuse_unfit(records, keep_whole)
    job = _Job(out, classes, config, frozenset(keep_whole))
    job.claim({r.image.stem for r in records if r.split not in job.whole})
    skips = Skips(len(records), limit, log=out / "skipped.csv")
    rows: list[Record] = []
    task = progress.task(len(records), "tiling") if progress is not None else None
    with ThreadPoolExecutor(max(1, workers)) as pool, task or nullcontext():
        try:
            results = pool.map(job.cut_or_fail, records)
            for record, result in zip(records, results, strict=True):
                with skips.catch(record.image):
                    if isinstance(result, ImageError):
                        raise result
                    rows.extend(result)
                if task is not None:
                    task.advance(1)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    skips.write(out / "skipped.csv")
    return Manifest(classes, tuple(rows)).write(out / "manifest.csv"), skips


def _refuse_unfit(records: Sequence[Record], keep_whole: Sequence[str]) -> None:
    bare = [r for r in records if r.mask is None]
    if bare or not records:
        raise ManifestError(
            f"{len(bare)} of {len(records)} images have no mask"
            + (f", the first: {bare[0].image}" if bare else ""),
            where="tiling",
            expected="images with masks",
            remedy="Give the masks of the images that are to be cut",
        )
    stems = Counter(r.image.stem for r in records if r.split not in keep_whole)
    twice = [stem for stem, count in stems.items() if count > 1]
    if twice:
        raise ManifestError(
            f"{stems[twice[0]]} images are called {twice[0]!r}",
            where="tiling",
            expected="a name of its own for every image, whatever its folder",
            remedy="Rename the images",
        )


@dataclass(frozen=True)
class _Job:
    """Where and how to cut; each image is independent of the others."""

    out: Path
    classes: ClassSet
    config: TileConfig
    whole: frozenset[str]

    def claim(self, sources: set[str]) -> None:
        """Make the folders, refusing one that holds tiles of another kind or of more images."""
        settings = {"config": self.config.model_dump(), "classes": self.classes.to_dict()}
        text = json.dumps(settings, indent=2, ensure_ascii=False) + "\n"
        stamp = self.out / "tile.json"
        remedy = "Choose another folder, or remove this one if nothing needs it"
        foreign = [name for name in ("manifest.csv", CLASS_FILE) if (self.out / name).exists()]
        if foreign and not stamp.exists():
            raise OutputError(
                f"holds another data set ({foreign[0]})", where=self.out, remedy=remedy
            )
        try:
            old = stamp.read_text(encoding="utf-8") if stamp.exists() else text
            if old != text:
                raise OutputError("holds tiles of other settings", where=self.out, remedy=remedy)
            for name in ("images", "masks", "tiles"):
                (self.out / name).mkdir(parents=True, exist_ok=True)
            others = {path.stem for path in (self.out / "tiles").iterdir()} - sources
        except (OSError, ValueError) as error:
            raise OutputError(
                f"cannot be used ({error})", where=self.out, remedy="Choose another folder"
            ) from error
        if others:
            raise OutputError(
                f"holds tiles of {len(others)} other images, such as {min(others)!r}",
                where=self.out,
                remedy=remedy,
            )
        with replacing(stamp) as temporary:
            temporary.write_text(text, encoding="utf-8")

    def cut_or_fail(self, record: Record) -> list[Record] | ImageError:
        """Rows that one image gives, or why it cannot be used."""
        try:
            return [self._keep(record)] if record.split in self.whole else self._cut(record)
        except ImageError as error:
            return error

    def _keep(self, record: Record) -> Record:
        _, mask = self._read(record)
        mpp = record.mpp or self.config.mpp
        return replace(record, labels=present(mask, len(self.classes), 0.0), mpp=mpp)

    def _read(self, record: Record) -> tuple[UInt8, UInt8]:
        assert record.mask is not None  # noqa: S101 - refused before
        image = read_image(record.image)
        return image, read_mask(record.mask, len(self.classes), (image.shape[0], image.shape[1]))

    def _cut(self, record: Record) -> list[Record]:
        note = self.out / "tiles" / f"{record.image.stem}.json"
        key = self._key(record)
        found = _noted(note, key)
        if found is not None:
            rows = [self._row(record, y, x, label) for y, x, label in found]
            if all(r.image.is_file() and r.mask is not None and r.mask.is_file() for r in rows):
                return rows
        rows = self._write_patches(record)
        patches = [[r.y, r.x, list(r.labels)] for r in rows]
        with replacing(note) as temporary:
            temporary.write_text(json.dumps({"key": key, "patches": patches}), encoding="utf-8")
        return rows

    def _key(self, record: Record) -> str:
        """What the patches of an image depend on, besides the settings of the folder."""
        digest = hashlib.sha256()
        for path in (record.image, record.mask):
            try:
                digest.update(hashlib.sha256(path.read_bytes()).digest() if path else b"")
            except (OSError, ValueError) as error:
                raise ImageError(
                    f"cannot be read ({error})", where=path, remedy="Correct the path"
                ) from error
        return digest.hexdigest()

    def _write_patches(self, record: Record) -> list[Record]:
        image, mask = self._read(record)
        size = self.config.size
        ys, xs = (starts(length, self.config) for length in mask.shape)
        if not ys or not xs:
            raise ImageError(
                f"{mask.shape[0]}x{mask.shape[1]} pixels (height x width)",
                where=record.image,
                expected=f"at least {size}x{size}, the size of a patch",
                remedy="Choose a smaller patch or leave the image out",
            )
        rows: list[Record] = []
        for y, x in itertools.product(ys, xs):
            window = slice(y, y + size), slice(x, x + size)
            label = present(mask[window], len(self.classes), self.config.presence)
            if not any(label) and not self.config.keep_empty:
                continue
            row = self._row(record, y, x, label)
            with replacing(row.image) as temporary:
                Image.fromarray(image[window]).save(temporary, format="PNG")
            if row.mask is not None:
                write_index_png(row.mask, mask[window], self.classes)
            rows.append(row)
        return rows

    def _row(self, record: Record, y: int, x: int, label: Sequence[int]) -> Record:
        name = f"{record.image.stem}_y{y}_x{x}.png"
        return replace(
            record,
            image=self.out / "images" / name,
            mask=self.out / "masks" / name,
            labels=tuple(label),
            mpp=record.mpp or self.config.mpp,
            source=record.image.stem,
            x=x,
            y=y,
        )


def _noted(note: Path, key: str) -> list[tuple[int, int, list[int]]] | None:
    """What an earlier call noted of an image, unless image or mask have changed since."""
    try:
        data = json.loads(note.read_text(encoding="utf-8"))
        if data["key"] == key:
            return [(int(y), int(x), [int(v) for v in label]) for y, x, label in data["patches"]]
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None
