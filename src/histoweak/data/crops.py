"""Training crops from frames: every item is a pure function of (seed, step, slot).

Nothing here depends on the order of earlier calls, on the number of workers or on how often a
run was interrupted; that is what makes resumed runs equal to uninterrupted ones, bit for bit.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image, ImageFilter
from pydantic import Field
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from histoweak.classes import IGNORE_INDEX
from histoweak.config import StrictConfig
from histoweak.data.frames import Frame, FrameStore

UInt8 = npt.NDArray[np.uint8]
Key = tuple[int, int]
"""(step, slot): the place of an item in the training run."""


class AugmentConfig(StrictConfig):
    """Augmentation of crops.

    `flips` and right-angle `rotations` on or off; `upside_down` flips along the other axis as
    well, which rotations do anyway; half of the crops are blurred with a Gaussian of up to `blur`
    pixels; `scale` s draws the magnification between
    1/(1+s) and 1+s, equally often on either side of 1; `stain` and `stain_shift` are the largest
    relative and absolute change of each of the H, E and D optical densities.
    """

    flips: bool = True
    rotations: bool = True
    upside_down: bool = False
    blur: float = Field(0.0, ge=0, le=10)
    scale: float = Field(0.1, ge=0, le=3)
    stain: float = Field(0.05, ge=0, lt=1)
    stain_shift: float = Field(0.02, ge=0, lt=1)


@dataclass(frozen=True)
class Crop:
    """One training item.

    `image` (3,C,C) uint8; `boxes` (n,4) x0 y0 x1 y1 in pixels of the crop and `labels` (n,K) of
    the windows that lie wholly inside; `mask` (C,C) or (M,C,C) uint8 or None; `stain` (6,)
    factors and shifts for HED; `name` for messages; `step` of the training run that it belongs to.
    """

    image: Tensor
    boxes: Tensor
    labels: Tensor
    mask: Tensor | None
    stain: Tensor
    name: str
    step: int


@dataclass(frozen=True)
class Batch:
    """Crops side by side.

    `images` (B,3,C,C) uint8; `boxes` (N,5) with the item's index first; `labels` (N,K);
    `masks` (B,C,C) or (B,M,C,C) uint8 or None; `stain` (B,6); `names`; `step` of the training
    run, which schedules follow.
    """

    images: Tensor
    boxes: Tensor
    labels: Tensor
    masks: Tensor | None
    stain: Tensor
    names: tuple[str, ...]
    step: int

    def to(self, device: torch.device) -> "Batch":
        """Return the batch with its tensors on a device."""
        return replace(
            self,
            images=self.images.to(device),
            boxes=self.boxes.to(device),
            labels=self.labels.to(device),
            masks=None if self.masks is None else self.masks.to(device),
            stain=self.stain.to(device),
        )


class CropDataset(Dataset[Crop]):
    """Square crops around randomly chosen windows.

    Args:
        store: frames of the training split.
        size: side of a crop in pixels. Larger than the windows, it shows what surrounds them.
        augment: geometric and stain augmentation.
        seed: decides everything.
        n_classes: K.
        balance: `patient` draws patients equally often, then one of their windows; `none` draws
            windows equally often.
        mask_of: returns the (H,W) mask, or M of them as (M,H,W), of the frame at an index; None
            trains on labels alone.
        keep: (frame, window) -> whether crops are made around this window; None keeps all.
        pieces: cut crops out of windows that are larger, in place of shrinking these: for training
            without labels, which speak of whole windows.
    """

    def __init__(
        self,
        store: FrameStore,
        *,
        size: int,
        augment: AugmentConfig,
        seed: int,
        n_classes: int,
        balance: Literal["patient", "none"] = "patient",
        mask_of: Callable[[int], UInt8] | None = None,
        keep: Callable[[Frame, int], bool] | None = None,
        pieces: bool = False,
    ) -> None:
        self.pieces = pieces
        self.store, self.size, self.augment, self.seed = store, size, augment, seed
        self.n_classes, self.mask_of = n_classes, mask_of
        # `keep` itself is not kept: loader processes get the data set as a pickle.
        self.groups = _groups(store.frames, balance, keep or (lambda frame, window: True))

    def __getitem__(self, key: Key) -> Crop:
        step, slot = key
        rng = np.random.default_rng(np.random.SeedSequence((self.seed, step, slot)))
        group = self.groups[rng.integers(len(self.groups))]
        index, window = group[rng.integers(len(group))]
        frame = self.store.frames[index]
        box = np.asarray(frame.boxes[window])
        spread = np.log1p(self.augment.scale)
        wanted = self.size / np.exp(rng.uniform(-spread, spread))
        # A window larger than the crop is shrunk rather than cut: its label speaks of all of it.
        least = 0 if self.pieces else (box[2:] - box[:2]).max()
        side = int(np.ceil(max(wanted, least)))
        x, y = (
            _place(rng, box[axis], box[axis + 2], side, length)
            for axis, length in ((0, frame.width), (1, frame.height))
        )
        turns = self._turns(rng)
        flip = bool(rng.integers(2)) if self.augment.flips else False
        image = _turn(_cut(self.store.image(index), x, y, side, "reflect"), turns, flip)
        mask = None
        if self.mask_of is not None:
            mask = self._mask(self.mask_of(index), x, y, side, turns, flip)
        boxes, labels = _inside(frame, x, y, side, self.n_classes)
        boxes = _turn_boxes(boxes, side, turns, flip) * (self.size / side)
        pixels = _resize(image.transpose(2, 0, 1)[None], self.size, "bilinear")[0]
        stain = self._stain(rng)
        return Crop(
            image=self._blurred(pixels, rng),
            boxes=torch.from_numpy(boxes.astype(np.float32)),
            labels=torch.from_numpy(labels),
            mask=mask,
            stain=torch.from_numpy(stain),
            name=frame.windows[window],
            step=step,
        )

    def _turns(self, rng: np.random.Generator) -> int:
        """Quarter turns; half a turn and a flip make a flip along the other axis."""
        if self.augment.rotations:
            return int(rng.integers(4))
        return 2 * int(rng.integers(2)) if self.augment.upside_down else 0

    def _mask(self, mask: UInt8, x: int, y: int, side: int, turns: int, flip: bool) -> Tensor:
        """The piece of one (H,W) or several (M,H,W) masks that belongs to a crop."""
        last = mask if mask.ndim == 2 else mask.transpose(1, 2, 0)
        cut = _turn(_cut(last, x, y, side, "ignore"), turns, flip)
        first = cut[None] if mask.ndim == 2 else cut.transpose(2, 0, 1)
        resized = _resize(first[None], self.size, "nearest")[0]
        return resized[0] if mask.ndim == 2 else resized

    def _blurred(self, pixels: Tensor, rng: np.random.Generator) -> Tensor:
        if self.augment.blur == 0:
            return pixels
        chosen, sigma = rng.random() < 0.5, rng.uniform(0, self.augment.blur)
        if not chosen:
            return pixels
        image = Image.fromarray(pixels.permute(1, 2, 0).numpy())
        blurred = np.array(image.filter(ImageFilter.GaussianBlur(sigma)))
        return torch.from_numpy(blurred).permute(2, 0, 1).contiguous()

    def _stain(self, rng: np.random.Generator) -> npt.NDArray[np.float32]:
        factors = 1 + rng.uniform(-self.augment.stain, self.augment.stain, 3)
        shifts = rng.uniform(-self.augment.stain_shift, self.augment.stain_shift, 3)
        return np.concatenate([factors, shifts]).astype(np.float32)


class StepSampler(Sampler[list[Key]]):
    """Batches of (step, slot) keys for one chunk of the training run.

    Args:
        chunk: returns the number of the current chunk (Lightning calls it an epoch).
        steps: steps per chunk; the last one may be shorter.
        batch: crops per step over all processes.
        rank: this process.
        world: number of processes; each takes every world-th slot.
        total: steps of the whole training run, None for no end.
    """

    def __init__(
        self,
        chunk: Callable[[], int],
        steps: int,
        batch: int,
        rank: int = 0,
        world: int = 1,
        total: int | None = None,
    ) -> None:
        self.chunk, self.steps, self.batch, self.rank, self.world = chunk, steps, batch, rank, world
        self.total = total

    def __iter__(self) -> Iterator[list[Key]]:
        first = self.chunk() * self.steps
        end = first + self.steps
        for step in range(first, end if self.total is None else min(end, self.total)):
            yield [(step, slot) for slot in range(self.rank, self.batch, self.world)]

    def __len__(self) -> int:
        return self.steps


def collate(crops: list[Crop]) -> Batch:
    """Put crops side by side."""
    boxes = [torch.nn.functional.pad(c.boxes, (1, 0), value=i) for i, c in enumerate(crops)]
    masks = [c.mask for c in crops if c.mask is not None]
    return Batch(
        images=torch.stack([c.image for c in crops]),
        boxes=torch.cat(boxes),
        labels=torch.cat([c.labels for c in crops]),
        masks=torch.stack(masks) if masks else None,
        stain=torch.stack([c.stain for c in crops]),
        names=tuple(c.name for c in crops),
        step=crops[0].step,
    )


def _groups(
    frames: tuple[Frame, ...],
    balance: Literal["patient", "none"],
    keep: Callable[[Frame, int], bool],
) -> list[list[tuple[int, int]]]:
    groups: dict[str, list[tuple[int, int]]] = {}
    for index, frame in enumerate(frames):
        name = frame.patient if balance == "patient" else ""
        windows = [(index, window) for window in range(len(frame.boxes)) if keep(frame, window)]
        groups.setdefault(name, []).extend(windows)
    return [group for group in groups.values() if group]


def is_mixed(frame: Frame, window: int) -> bool:
    """Whether the label of a window names several classes; for `keep` of `CropDataset`."""
    return sum(frame.labels[window]) > 1


def _place(rng: np.random.Generator, low: float, high: float, side: int, length: int) -> int:
    """Start of a crop that holds [low, high), or lies within it, on the frame where possible."""
    if length <= side:
        # The frame is padded on both sides.
        return int(rng.integers(length - side, 1))
    lowest, highest = sorted((high - side, low))
    first, last = max(0, int(np.ceil(lowest))), min(length - side, int(highest))
    if first > last:
        # A window that fills the crop and lies between pixels: half a pixel of it is cut off.
        first = last = min(max(0, round(low)), length - side)
    return int(rng.integers(first, last + 1))


def _cut(array: UInt8, x: int, y: int, side: int, fill: Literal["reflect", "ignore"]) -> UInt8:
    """A (side, side, ...) piece; parts beyond the array are filled."""
    height, width = array.shape[:2]
    inside = array[max(0, y) : min(height, y + side), max(0, x) : min(width, x + side)]
    before = (max(0, -y), max(0, -x))
    after = (max(0, y + side - height), max(0, x + side - width))
    if not any(before + after):
        return inside
    pads = [(before[0], after[0]), (before[1], after[1])] + [(0, 0)] * (array.ndim - 2)
    if fill == "reflect":
        return np.pad(inside, pads, mode="symmetric")
    return np.pad(inside, pads, constant_values=IGNORE_INDEX)


def _turn(array: UInt8, turns: int, flip: bool) -> UInt8:
    turned = np.rot90(array, turns)
    return np.ascontiguousarray(turned[:, ::-1] if flip else turned)


def _turn_boxes(
    boxes: npt.NDArray[np.float64], side: int, turns: int, flip: bool
) -> npt.NDArray[np.float64]:
    """Move boxes as `_turn` moves the pixels of a (side, side) crop."""
    for _ in range(turns):  # counter-clockwise: (x, y) -> (y, side - x)
        x0, y0, x1, y1 = boxes.T
        boxes = np.stack([y0, side - x1, y1, side - x0], axis=1)
    if flip:
        x0, y0, x1, y1 = boxes.T
        boxes = np.stack([side - x1, y0, side - x0, y1], axis=1)
    return boxes


def _inside(
    frame: Frame, x: int, y: int, side: int, n_classes: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float32]]:
    """Labelled windows wholly inside a crop (half a pixel of tolerance), moved to its corner."""
    boxes = np.asarray(frame.boxes, np.float64) - [x, y, x, y]
    labels = [label or (-1,) * n_classes for label in frame.labels]
    keep = (boxes.min(axis=1) >= -0.5) & (boxes.max(axis=1) <= side + 0.5)
    known = np.asarray(labels, np.float32).reshape(-1, n_classes)
    keep &= known.max(axis=1) >= 0
    return boxes[keep].clip(0, side), known[keep]


def _resize(array: UInt8, size: int, mode: Literal["bilinear", "nearest"]) -> Tensor:
    """(N,C,side,side) uint8 to (N,C,size,size) uint8."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    if tensor.shape[-1] == size:
        return tensor
    if mode == "nearest":
        return F.interpolate(tensor, (size, size), mode="nearest-exact")
    return F.interpolate(tensor, (size, size), mode="bilinear", antialias=True)
