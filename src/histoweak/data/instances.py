"""Instances: small squares of tissue on the windows of frames."""

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import roi_align

from histoweak.atomic import replacing
from histoweak.data.frames import FrameStore

Float = npt.NDArray[np.float64]

INSTANCES = "instances.json"
"""File of an artefact in which instances are listed."""


OVERHANG = 0.1
"""Share of a square that may lie beyond the last one, so that rounding adds no row of squares."""


def lattice_size(window: float, side: int) -> int:
    """How many instances stand side by side in a window so that they cover it, at least one."""
    return max(1, math.ceil(window / side - OVERHANG))


def lattices(boxes: Tensor, side: int, shift: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Place on each window as many squares as its longer side holds.

    Args:
        boxes: (N, 5) item index, then x0 y0 x1 y1 in pixels.
        side: of a square in pixels.
        shift: as in `lattice`.

    Returns:
        (N, n, 5) squares, n those of the largest window, and (N, n) bool, which of them are real:
        smaller windows are filled up with empty ones.
    """
    longest = (boxes[:, 3:] - boxes[:, 1:3]).amax(dim=1).tolist() if len(boxes) else []
    numbers = torch.tensor([lattice_size(length, side) for length in longest], dtype=torch.long)
    most = int(numbers.max()) ** 2 if len(numbers) else 1
    squares = boxes.new_zeros(len(boxes), most, 5)
    real = torch.zeros(len(boxes), most, dtype=torch.bool, device=boxes.device)
    for number in set(numbers.tolist()):
        rows = (numbers == number).nonzero()[:, 0].to(boxes.device)
        moved = None if shift is None else shift[rows]
        squares[rows, : number**2] = lattice(boxes[rows], number, side, moved)
        real[rows, : number**2] = True
    return squares, real


def lattice(boxes: Tensor, number: int, side: int, shift: Tensor | None = None) -> Tensor:
    """Place number x number squares of one size evenly in each window.

    Squares overlap or leave gaps where the window is no multiple of their side, so that all have
    the side that the classifier knows. In a window smaller than a square they reach beyond it.

    Args:
        boxes: (N, 5) item index, then x0 y0 x1 y1 in pixels.
        number: squares per row and column.
        side: of a square in pixels.
        shift: (N, 2) in [0, 1], where along x and y the lattice lies within half the distance of
            its squares; None for squares that reach from border to border.

    Returns:
        (N, number^2, 5) boxes, row after row.
    """
    room = (boxes[:, 3:] - boxes[:, 1:3] - side)[:, :, None]
    steps = torch.arange(number, device=boxes.device) / max(1, number - 1)
    if shift is None:
        starts = room * (steps if number > 1 else 0.5)
    else:
        play = room / (2 * (number - 1)) if number > 1 else room
        starts = (room - play) * steps + play * shift[:, :, None]
    x = (boxes[:, 1:2] + starts[:, 0])[:, None, :].expand(-1, number, -1)
    y = (boxes[:, 2:3] + starts[:, 1])[:, :, None].expand(-1, -1, number)
    item = boxes[:, 0][:, None, None].expand_as(x)
    return torch.stack([item, x, y, x + side, y + side], dim=3).flatten(1, 2)


def cut(images: Tensor, squares: Tensor, side: int) -> Tensor:
    """Cut squares out of images, bilinearly; beyond the border the image is repeated.

    Args:
        images: (B, C, H, W) float.
        squares: (..., 5) item index, then x0 y0 x1 y1 in pixels.
        side: of the result in pixels.

    Returns:
        (..., C, side, side).
    """
    margin = _overhang(squares, (images.shape[2], images.shape[3]))
    if margin:
        images = F.pad(images, (margin,) * 4, mode="replicate")
        squares = squares + squares.new_tensor([0, margin, margin, margin, margin])
    return _align(images, squares, side)


def _overhang(squares: Tensor, size: tuple[int, int]) -> int:
    """Pixels that squares reach beyond images (height, width), 0 where half a pixel is most.

    So far `roi_align` itself repeats the border; further out it reads zeros, which are black.
    """
    if not squares.numel():
        return 0
    low = -squares[..., 1:3].min()
    high = (squares[..., 3:] - squares.new_tensor(size[::-1])).max()
    overhang = float(torch.maximum(low, high))
    return math.ceil(overhang) if overhang > 0.5 else 0


def _align(images: Tensor, squares: Tensor, side: int) -> Tensor:
    flat = squares.reshape(-1, 5)
    pieces: Tensor = roi_align(images, flat, side, 1.0, sampling_ratio=-1, aligned=True)
    return pieces.view(*squares.shape[:-1], *pieces.shape[1:])


def tissue(images: Tensor, squares: Tensor, gray: int, blank: float) -> Tensor:
    """Which squares hold tissue; what lies beyond the image is white.

    Args:
        images: (B, 3, H, W) uint8.
        squares: (N, n, 5).
        gray: pixels of a grey value (ITU-R BT.601 luma) above it are white.
        blank: largest share of white that counts as tissue.

    Returns:
        (N, n) bool.
    """
    weights = torch.tensor([0.299, 0.587, 0.114], device=images.device)
    luma = torch.einsum("bchw,c->bhw", images.float(), weights)
    dark = (luma <= gray).float()[:, None]
    # Zeros beyond the image are no tissue. The mean of eight times eight ones may miss 1 a little.
    return _align(dark, squares, 8).mean(dim=(2, 3, 4)) >= 1 - blank - 1e-6


class InstanceStore(FrameStore):
    """Frames whose windows are instances, with what is known of each.

    Args:
        folder: written by `build_frames`.
        table: written by `write_instances`.
    """

    def __init__(self, folder: Path, table: Path) -> None:
        super().__init__(folder)
        self.table = table
        rows = json.loads(table.read_text(encoding="utf-8"))
        self.frames = tuple(
            replace(
                frame,
                boxes=tuple(tuple(box) for box in row["boxes"]),
                labels=tuple(tuple(label) for label in row["labels"]),
                windows=tuple(f"{frame.name}, instance {i}" for i in range(len(row["boxes"]))),
            )
            for frame, row in zip(self.frames, rows, strict=True)
        )

    def __reduce__(self) -> tuple[type["InstanceStore"], tuple[Path, Path]]:  # type: ignore[override]
        """Pickle as the files: loader processes map them, they get no copy of the pixels."""
        return InstanceStore, (self.folder, self.table)


def write_instances(path: Path, boxes: Sequence[Float], labels: Sequence[Float]) -> None:
    """Write the instances of every frame.

    Args:
        path: JSON file.
        boxes: per frame (n, 4) x0 y0 x1 y1 in pixels of the frame.
        labels: per frame (n, K) 0, 1, or -1 where nothing is known.
    """
    rows = [
        {"boxes": np.round(b, 3).tolist(), "labels": np.asarray(y, int).tolist()}
        for b, y in zip(boxes, labels, strict=True)
    ]
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(rows), encoding="utf-8")
