"""Frames: the images that networks see, with the labelled windows that lie on them.

A patch that was cut from a larger image carries `source`, `x` and `y`. Patches of one source are
laid back where they came from: the *frame*. Overlapping patches then share their pixels, so the
network computes them once, sees what surrounds a patch, and several labels speak about one pixel.
A patch without a source is a frame with a single window. Only what is in the manifest is used:
parts of the source that no patch covers stay white and unlabelled.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from histoweak.classes import IGNORE_INDEX
from histoweak.data.images import MAX_PIXELS, read_image, read_mask
from histoweak.data.manifest import Record
from histoweak.data.rescale import rescale_image, rescaled_size
from histoweak.data.skips import Skips
from histoweak.errors import ImageError, ManifestError
from histoweak.progress import Progress

MAX_SIDE = 14_000
"""Longest side of a patch in pixels of its frame. Crops show a patch whole, padded to a square, so
a long narrow one would cost the memory of that square."""

UInt8 = npt.NDArray[np.uint8]
Float = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Frame:
    """Geometry and labels of one frame; its pixels are in the `FrameStore`.

    `boxes` are (x0, y0, x1, y1) of the windows in pixels of the frame, `labels` their K bits (an
    empty tuple where the manifest states none), `offset` the place of its first pixel in the
    store, `mpp` the microns per pixel of the frame or None.
    """

    name: str
    patient: str
    slide: str
    split: str
    height: int
    width: int
    offset: int
    mpp: float | None
    boxes: tuple[tuple[float, float, float, float], ...]
    labels: tuple[tuple[int, ...], ...]
    windows: tuple[str, ...]


class FrameStore:
    """Frames of a data set on disk, read through a memory map.

    The folder holds `frames.json`, `images.u8` (RGB, row after row, frame after frame) and, where
    masks were asked for, `masks.u8` in the same order.

    Args:
        folder: written by `build_frames`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        rows = json.loads((folder / "frames.json").read_text(encoding="utf-8"))
        self.frames = tuple(_frame(row) for row in rows)
        self._pixels = np.memmap(folder / "images.u8", np.uint8, "r")
        masks = folder / "masks.u8"
        self._masks = np.memmap(masks, np.uint8, "r") if masks.exists() else None

    def __reduce__(self) -> tuple[type["FrameStore"], tuple[Path]]:
        """Pickle as the folder: loader processes map the files, they get no copy of the pixels."""
        return FrameStore, (self.folder,)

    def __len__(self) -> int:
        return len(self.frames)

    def image(self, index: int) -> UInt8:
        """(H, W, 3) uint8 view of one frame."""
        frame = self.frames[index]
        start, size = frame.offset * 3, frame.height * frame.width * 3
        return self._pixels[start : start + size].reshape(frame.height, frame.width, 3)

    def mask(self, index: int) -> UInt8:
        """(H, W) uint8 view of one frame's mask.

        Raises:
            ValueError: the store was built without masks.
        """
        if self._masks is None:
            raise ValueError(f"{self.folder} was built without masks")
        frame = self.frames[index]
        size = frame.height * frame.width
        return self._masks[frame.offset : frame.offset + size].reshape(frame.height, frame.width)


def _frame(row: dict[str, object]) -> Frame:
    values = dict(row)
    for key in ("boxes", "labels"):
        values[key] = tuple(tuple(v) for v in values[key])  # type: ignore[attr-defined]
    values["windows"] = tuple(values["windows"])  # type: ignore[arg-type]
    return Frame(**values)  # type: ignore[arg-type]


def build_frames(
    records: Sequence[Record],
    n_classes: int,
    out: Path,
    *,
    mpp: float | None,
    assemble: bool,
    with_masks: bool,
    skips: Skips,
    progress: Progress,
) -> FrameStore:
    """Decode images once, lay patches on their frames, and write the store.

    Args:
        records: rows of one or more splits.
        n_classes: K.
        out: folder that receives the store.
        mpp: working scale in microns per pixel; None keeps each image's own scale.
        assemble: lay patches back on their source; otherwise each patch is a frame.
        with_masks: also store masks. Weak supervision never does for the training split.
        skips: receives unusable images with their reason; raises when they are too many.
        progress: shows how far it is.

    Raises:
        ManifestError: `mpp` is given and a record lacks its own, or needs a mask and has none; or
            patches of one source have several scales or lie too far apart for one frame.
        ImageError: too many images cannot be used.
    """
    groups = _group(records if assemble else [replace(r, source="") for r in records])
    frames: list[Frame] = []
    offset = 0
    with (
        (out / "images.u8").open("wb") as pixel_file,
        (out / "masks.u8").open("wb") as mask_file,
    ):
        for name, group in progress.track(groups, len(groups), "decoding images"):
            pasted = _paste(group, n_classes, mpp, with_masks, skips)
            if pasted is None:
                continue
            image, mask, kept = pasted
            scale = _scale(kept[0].record, mpp)
            image, mask = rescale_image(image, scale), _resize_mask(mask, scale)
            height, width = image.shape[:2]
            frames.append(_describe(name, kept, (height, width), offset, scale, mpp))
            pixel_file.write(np.ascontiguousarray(image).tobytes())
            if mask is not None:
                mask_file.write(np.ascontiguousarray(mask).tobytes())
            offset += height * width
    if not with_masks:
        (out / "masks.u8").unlink()
    (out / "frames.json").write_text(json.dumps([asdict(f) for f in frames]), encoding="utf-8")
    return FrameStore(out)


def _group(records: Sequence[Record]) -> list[tuple[str, list[Record]]]:
    """Records by source, in the order of their first appearance."""
    groups: dict[tuple[str, ...], list[Record]] = {}
    for record in records:
        # Two slides may each have a source "1".
        cut = ("source", record.patient, record.slide, record.source)
        groups.setdefault(cut if record.source else ("image", str(record.image)), []).append(record)
    return [
        (key[-1] if key[0] == "source" else group[0].image.stem, group)
        for key, group in groups.items()
    ]


@dataclass(frozen=True)
class _Placed:
    """A patch on its frame: upper left corner and size in source pixels."""

    record: Record
    x: int
    y: int
    height: int
    width: int


def _paste(
    group: list[Record], n_classes: int, mpp: float | None, with_masks: bool, skips: Skips
) -> tuple[UInt8, UInt8 | None, list[_Placed]] | None:
    """Lay the readable patches of one source on a white frame."""
    read: list[tuple[Record, UInt8, UInt8 | None]] = []
    for record in group:
        with skips.catch(record.image):
            image = read_image(record.image)
            _refuse_long(record, image, mpp)
            mask = _mask_of(record, n_classes, image.shape[:2]) if with_masks else None
            read.append((record, image, mask))
    if not read:
        return None
    cut = bool(read[0][0].source)
    left = min(r.x for r, _, _ in read) if cut else 0
    top = min(r.y for r, _, _ in read) if cut else 0
    placed = [
        _Placed(r, r.x - left if cut else 0, r.y - top if cut else 0, *image.shape[:2])
        for r, image, _ in read
    ]
    size = max(p.y + p.height for p in placed), max(p.x + p.width for p in placed)
    _check_source(placed, size)
    canvas = np.full((*size, 3), 255, np.uint8)
    truth = np.full(size, IGNORE_INDEX, np.uint8) if with_masks else None
    for p, (_, image, mask) in zip(placed, read, strict=True):
        area = np.s_[p.y : p.y + p.height, p.x : p.x + p.width]
        canvas[area] = image
        if truth is not None and mask is not None:
            truth[area] = mask
    return canvas, truth, placed


def _refuse_long(record: Record, image: UInt8, mpp: float | None) -> None:
    longest = round(max(image.shape[:2]) * _scale(record, mpp))
    if longest > MAX_SIDE:
        at = "" if mpp is None else f" at {mpp:g} microns per pixel"
        raise ImageError(
            f"a side of {longest} pixels{at}",
            where=record.image,
            expected=f"at most {MAX_SIDE}",
            remedy="Cut the image into patches with `histoweak data tile`, or correct its mpp",
        )


def _check_source(placed: list[_Placed], size: tuple[int, int]) -> None:
    """Refuse patches that make no frame, before memory is spent on one."""
    first = placed[0].record
    where = f"manifest row {first.row}, source {first.source!r}"
    scales = {p.record.mpp for p in placed} - {None}
    if len(scales) > 1:
        raise ManifestError(
            f"its patches have several scales: {', '.join(sorted(map(str, scales)))}",
            where=where,
            expected="one mpp per source, the scale that x and y are counted in",
            remedy="Give each scale a source of its own, or set frames.assemble=false",
        )
    if size[0] * size[1] > MAX_PIXELS:
        raise ManifestError(
            f"its patches spread over {size[1]} x {size[0]} pixels",
            where=where,
            expected=f"at most {MAX_PIXELS // 1_000_000} megapixels",
            remedy="Give each region of a slide a source of its own, or set frames.assemble=false",
        )


def _mask_of(record: Record, n_classes: int, size: tuple[int, ...]) -> UInt8:
    if record.mask is None:
        raise ManifestError(
            f"{record.image.name} has no mask",
            where=f"manifest row {record.row}",
            remedy="Evaluation and full supervision need the mask column; fill it for this split",
        )
    return read_mask(record.mask, n_classes, (size[0], size[1]))


def _scale(record: Record, mpp: float | None) -> float:
    if mpp is None:
        return 1.0
    if record.mpp is None:
        raise ManifestError(
            f"{record.image.name} has no mpp",
            where=f"manifest row {record.row}",
            expected=f"microns per pixel, since the working scale is {mpp}",
            remedy="Fill the mpp column, or set frames.mpp=null to keep images as they are",
        )
    return record.mpp / mpp


def _resize_mask(mask: UInt8 | None, scale: float) -> UInt8 | None:
    if mask is None or scale == 1.0:
        return mask
    height, width = rescaled_size((mask.shape[0], mask.shape[1]), scale)
    resized = Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST)
    return np.asarray(resized)


def _describe(
    name: str,
    placed: list[_Placed],
    size: tuple[int, int],
    offset: int,
    scale: float,
    mpp: float | None,
) -> Frame:
    first = placed[0].record
    corners = [(p.x, p.y, p.x + p.width, p.y + p.height) for p in placed]
    boxes = [(x0 * scale, y0 * scale, x1 * scale, y1 * scale) for x0, y0, x1, y1 in corners]
    return Frame(
        name=name,
        patient=first.patient,
        slide=first.slide,
        split=first.split,
        height=size[0],
        width=size[1],
        offset=offset,
        mpp=mpp if mpp is not None else first.mpp,
        boxes=tuple(boxes),
        labels=tuple(tuple(p.record.labels) for p in placed),
        windows=tuple(str(p.record.image) for p in placed),
    )
