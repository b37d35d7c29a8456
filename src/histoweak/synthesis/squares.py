"""Where on the frames squares of a single class lie."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from histoweak.data.frames import Frame

FEW = 20
"""Squares of a class up to which padded ones are taken too."""

NONE = -1
"""Class of a window that has several classes, or an unknown one."""


@dataclass(frozen=True)
class Square:
    """A square of one class: frame, class, and the part of the frame that it shows.

    `x1 - x0` and `y1 - y0` are at most the side; a smaller part is padded by its mirror image.
    """

    frame: int
    kind: int
    x0: int
    y0: int
    x1: int
    y1: int

    def is_whole(self, side: int) -> bool:
        """Whether no part of a square of this side would have to be padded."""
        return min(self.x1 - self.x0, self.y1 - self.y0) >= side


def single_class(labels: Sequence[int]) -> int:
    """Class of a window whose label has exactly one 1, else `NONE`."""
    return labels.index(1) if sum(labels) == 1 else NONE


def find_squares(
    frames: Sequence[Frame], side: int, assigned: Sequence[int] | None = None
) -> list[Square]:
    """Find squares of `side` pixels that windows of one class cover.

    A window as large as the square is taken as it is, a larger one is cut into as many squares as
    fit, flush with its borders. A smaller one grows over its neighbours of the same class on the
    frame where those cover the square. Windows that cannot grow are padded later; they are taken
    only of classes that have fewer than `FEW` squares, since mirror images show.

    Args:
        frames: with labelled windows.
        side: in pixels.
        assigned: class or `NONE` of every window, frame after frame, in place of what the labels
            say; see `near_single`.

    Returns:
        Squares in the order of frames and windows, each place of a class once.
    """
    found: dict[Square, None] = {}
    window = 0
    for index, frame in enumerate(frames):
        here = [single_class(label) for label in frame.labels]
        if assigned is not None:
            here = list(assigned[window : window + len(here)])
        window += len(frame.labels)
        found |= dict.fromkeys(_of_frame(index, frame, here, side))
    whole = Counter(square.kind for square in found if square.is_whole(side))
    return [s for s in found if s.is_whole(side) or whole[s.kind] < FEW]


def _of_frame(index: int, frame: Frame, kinds: Sequence[int], side: int) -> Iterator[Square]:
    boxes = [_on_pixels(frame, box) for box in frame.boxes]
    small = {k for k, b in zip(kinds, boxes, strict=True) if k != NONE and _shorter(b) < side}
    sums = {
        kind: _summed([b for b, k in zip(boxes, kinds, strict=True) if k == kind], frame)
        for kind in sorted(small)
    }
    for (x0, y0, x1, y1), kind in zip(boxes, kinds, strict=True):
        if kind == NONE:
            continue
        xs, ys = _starts(x0, x1, side, frame.width), _starts(y0, y1, side, frame.height)
        places = [(x, y) for y in ys for x in xs]
        if _shorter((x0, y0, x1, y1)) < side:
            places = [p for p in places if _covered(sums[kind], *p, side)]
        for x, y in places:
            yield Square(index, kind, x, y, x + side, y + side)
        if not places:
            yield Square(index, kind, x0, y0, min(x1, x0 + side), min(y1, y0 + side))


def _on_pixels(frame: Frame, box: tuple[float, ...]) -> tuple[int, int, int, int]:
    x0, y0, x1, y1 = (round(v) for v in box)
    return max(0, x0), max(0, y0), min(frame.width, x1), min(frame.height, y1)


def _shorter(box: tuple[int, int, int, int]) -> int:
    return min(box[2] - box[0], box[3] - box[1])


def _starts(low: int, high: int, side: int, length: int) -> list[int]:
    """Places of the squares along one side of a window; both ends flush where it is too short."""
    if high - low < side:
        return sorted({start for start in (low, high - side) if 0 <= start <= length - side})
    count = (high - low) // side
    return [round(v) for v in np.linspace(low, high - side, count)]


def _summed(boxes: list[tuple[int, int, int, int]], frame: Frame) -> npt.NDArray[np.int64]:
    """Summed-area table of the union of boxes, (H + 1, W + 1)."""
    cover = np.zeros((frame.height + 1, frame.width + 1), np.int64)
    for x0, y0, x1, y1 in boxes:
        cover[1 + y0 : 1 + y1, 1 + x0 : 1 + x1] = 1
    return cover.cumsum(axis=0).cumsum(axis=1)


def _covered(sums: npt.NDArray[np.int64], x: int, y: int, side: int) -> bool:
    area = sums[y + side, x + side] - sums[y, x + side] - sums[y + side, x] + sums[y, x]
    return bool(area == side * side)
