"""Single-class patches of a data set, decoded once and held as one tensor."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from histoweak.data.frames import FrameStore
from histoweak.errors import ManifestError
from histoweak.refine.white import WhiteConfig, white_mask
from histoweak.synthesis.squares import Square, find_squares, single_class
from histoweak.synthesis.stain import stain_effects

MEMORY = 4_000_000_000
"""Bytes of patches up to which they are held in memory; more lie in a mapped file."""

UInt8 = npt.NDArray[np.uint8]


class PatchCache:
    """Patches whose every pixel has one known class.

    Args:
        images: (N, 3, S, S) uint8.
        classes: (N,) int64 class index of each patch.
        patients: N names.
        n_classes: K.
        white: (N, S, S) bool, True on white background; None where white is tissue.

    Attributes:
        counts: (K,) int64, patches per class.
        order: (N,) int64, rows sorted by class, in their own order within one.
        starts: (K,) int64, where in `order` the rows of a class begin.
    """

    def __init__(
        self,
        images: Tensor,
        classes: Tensor,
        patients: Sequence[str],
        n_classes: int,
        white: Tensor | None = None,
    ) -> None:
        self.images, self.classes, self.white = images, classes, white
        self.patients, self.n_classes = tuple(patients), n_classes
        self.counts = torch.bincount(classes, minlength=n_classes)
        self.order = torch.argsort(classes, stable=True)
        self.starts = self.counts.cumsum(0) - self.counts

    def __len__(self) -> int:
        return len(self.images)

    @property
    def side(self) -> int:
        """Side of a patch in pixels."""
        return self.images.shape[-1]

    @property
    def device(self) -> torch.device:
        """Where the patches are, and where synthetic images are made."""
        return self.images.device

    @cached_property
    def stain(self) -> Tensor:
        """(N, 3) float32 from `stain_effects`."""
        return stain_effects(self.images, self.classes, self.patients, self.n_classes)

    def to(self, device: torch.device | str) -> "PatchCache":
        """Return the cache on a device."""
        white = None if self.white is None else self.white.to(device)
        images, classes = self.images.to(device), self.classes.to(device)
        return PatchCache(images, classes, self.patients, self.n_classes, white)

    def of_patients(self, names: frozenset[str]) -> "PatchCache":
        """Return the patches of these patients alone."""
        chosen = [name in names for name in self.patients]
        keep = torch.tensor(chosen, dtype=torch.bool, device=self.device)
        patients = [name for name, kept in zip(self.patients, chosen, strict=True) if kept]
        white = None if self.white is None else self.white[keep]
        return PatchCache(self.images[keep], self.classes[keep], patients, self.n_classes, white)

    def require(self, names: Sequence[str]) -> "PatchCache":
        """Return the cache if it has patches of every class.

        Args:
            names: of the K classes, for the message.

        Raises:
            ManifestError: names the classes that no patch has to itself.
        """
        missing = [n for n, count in zip(names, self.counts.tolist(), strict=True) if not count]
        if missing:
            one = len(missing) == 1
            raise ManifestError(
                f"no patch is labelled with {' or '.join(map(repr, missing))} alone",
                where=f"single-class patches of {'this class' if one else 'these classes'}",
                expected="at least one: synthesis knows masks only of patches of a single class",
                remedy="Cut smaller patches, label some of the class alone, or drop the class",
            )
        return self

    @classmethod
    def of_frames(
        cls,
        store: FrameStore,
        n_classes: int,
        side: int | None = None,
        *,
        white: WhiteConfig | None = None,
        assigned: Sequence[int] | None = None,
        folder: Path | None = None,
        limit: int = MEMORY,
    ) -> "PatchCache":
        """Cut the single-class squares out of frames, in the order of frames and windows.

        Args:
            store: frames of the training split.
            n_classes: K.
            side: of the patches in pixels; None takes the usual window. See `find_squares` for
                windows of other sizes.
            white: rule for white background; None where white is tissue.
            assigned: class of every window, -1 for none, in place of its label.
            folder: where the patches lie when they take more than `limit`.
            limit: bytes that are held in memory; without a folder there is none.

        Raises:
            ManifestError: no window has a class to itself.
        """
        side = usual_side(store) if side is None else side
        squares = find_squares(store.frames, side, assigned)
        if not squares:
            raise ManifestError(
                "no patch is labelled with one class alone",
                where=str(store.folder),
                expected="patches of a single class for synthesis to put together",
                remedy="Cut smaller patches, or choose a method that learns from mixed patches",
            )
        images = _room((len(squares), 3, side, side), folder, limit)
        masks = None if white is None else np.zeros((len(squares), side, side), np.bool_)
        for i, square in enumerate(squares):
            patch = _cut(store.image(square.frame), square, side)
            images[i] = patch.transpose(2, 0, 1)
            if masks is not None and white is not None:
                masks[i] = white_mask(patch, white)
        return cls(
            torch.from_numpy(images),
            torch.tensor([square.kind for square in squares]),
            [store.frames[square.frame].patient for square in squares],
            n_classes,
            None if masks is None else torch.from_numpy(masks),
        )


def usual_side(store: FrameStore) -> int:
    """Median of the shorter sides of the single-class windows, in whole pixels.

    Raises:
        ManifestError: as `PatchCache.of_frames`.
    """
    sides = [
        min(x1 - x0, y1 - y0)
        for frame in store.frames
        for (x0, y0, x1, y1), label in zip(frame.boxes, frame.labels, strict=True)
        if single_class(label) >= 0
    ]
    # Half a pixel less than 37.33 is still the whole window.
    return max(8, int(np.median(sides))) if sides else 8


def _room(shape: tuple[int, ...], folder: Path | None, limit: int) -> UInt8:
    if folder is None or np.prod(shape, dtype=np.int64) <= limit:
        return np.empty(shape, np.uint8)
    return np.memmap(folder / "patches.u8", np.uint8, "w+", shape=shape)


def _cut(image: UInt8, square: Square, side: int) -> UInt8:
    """(side, side, 3); a part that is smaller is padded by its mirror image."""
    part = image[square.y0 : square.y1, square.x0 : square.x1]
    down, right = side - part.shape[0], side - part.shape[1]
    if down == right == 0:
        return part
    pads = ((down // 2, down - down // 2), (right // 2, right - right // 2), (0, 0))
    return np.pad(part, pads, mode="symmetric")
