"""Single-class patches of a data set, decoded once and held as one tensor."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from histoweak.classes import IGNORE_INDEX, ClassSet
from histoweak.data.frames import FrameStore
from histoweak.errors import ManifestError
from histoweak.refine.white import WhiteConfig, white_mask
from histoweak.synthesis.config import SynthesisConfig
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
        white_index: mask value of white background: that of a class, or 255 = ignore.
        rows: (M,) int64, the patches that may be drawn; None for all N.

    Attributes:
        rows: (M,) int64 as above, or all.
        counts: (K,) int64, patches per class among `rows`.
        order: (M,) int64, `rows` sorted by class, in their own order within one.
        starts: (K,) int64, where in `order` the rows of a class begin.
    """

    def __init__(
        self,
        images: Tensor,
        classes: Tensor,
        patients: Sequence[str],
        n_classes: int,
        white: Tensor | None = None,
        white_index: int = IGNORE_INDEX,
        rows: Tensor | None = None,
    ) -> None:
        self.images, self.classes, self.white = images, classes, white
        self.n_classes, self.white_index = n_classes, white_index
        self._patients = tuple(patients)
        self.rows = torch.arange(len(images), device=images.device) if rows is None else rows
        drawn = classes[self.rows]
        self.counts = torch.bincount(drawn, minlength=n_classes)
        self.order = self.rows[torch.argsort(drawn, stable=True)]
        self.starts = self.counts.cumsum(0) - self.counts

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def patients(self) -> tuple[str, ...]:
        """M names, of the patches that may be drawn."""
        return tuple(self._patients[row] for row in self.rows.tolist())

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
        """(N, 3) float32 from `stain_effects` of the patches that may be drawn, 0 elsewhere."""
        found = torch.zeros(len(self.images), 3, device=self.device)
        found[self.rows] = stain_effects(
            self.images, self.rows, self.classes[self.rows], self.patients, self.n_classes
        )
        return found

    def to(self, device: torch.device | str) -> "PatchCache":
        """Return the cache on a device."""
        return PatchCache(
            self.images.to(device),
            self.classes.to(device),
            self._patients,
            self.n_classes,
            None if self.white is None else self.white.to(device),
            self.white_index,
            self.rows.to(device),
        )

    def of_patients(self, names: frozenset[str]) -> "PatchCache":
        """Return a cache that draws from these patients alone; the pixels are shared."""
        chosen = [name in names for name in self.patients]
        keep = torch.tensor(chosen, dtype=torch.bool, device=self.device)
        return PatchCache(
            self.images,
            self.classes,
            self._patients,
            self.n_classes,
            self.white,
            self.white_index,
            self.rows[keep],
        )

    def require(self, classes: ClassSet) -> "PatchCache":
        """Return the cache if it has patches of every class, but for white where a rule marks it.

        Args:
            classes: the K classes.

        Raises:
            ManifestError: names the classes that no patch has to itself.
        """
        marked = None if self.white is None else classes.white
        counts = zip(classes.names, self.counts.tolist(), strict=True)
        missing = [name for name, count in counts if not count and name != marked]
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
        white_index: int = IGNORE_INDEX,
        assigned: Sequence[int] | None = None,
        folder: Path | None = None,
        limit: int = MEMORY,
    ) -> "PatchCache":
        """Cut the single-class squares out of frames, in the order of frames and windows.

        Args:
            store: frames of the training split.
            n_classes: K.
            side: of the patches in pixels; None takes `usual_side`. See `find_squares` for windows
                of other sizes.
            white: rule for white background; None where white is tissue.
            white_index: mask value of white background.
            assigned: class of every window, -1 for none, in place of its label.
            folder: where the patches lie when they take more than `limit`: in a file that belongs
                to this process alone and goes with it.
            limit: bytes that are held in memory; without a folder there is none.

        Raises:
            ManifestError: no window has a class to itself.
        """
        side = usual_side(store) if side is None else side
        squares = find_squares(store.frames, side, assigned)
        if not squares:
            raise no_single_class(str(store.folder))
        shape = (len(squares), 3, side, side)
        # Images decide for both, lest marks alone fill what the limit keeps free.
        mapped = None if np.prod(shape, dtype=np.int64) <= limit else folder
        images: UInt8 = _room(shape, np.uint8, mapped)
        masks = None if white is None else _room((len(squares), side, side), np.bool_, mapped)
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
            white_index,
        )


def cut_patches(
    store: FrameStore, classes: ClassSet, config: SynthesisConfig, folder: Path
) -> PatchCache:
    """Cut the patches that images are synthesised from.

    Args:
        store: frames of the training split.
        classes: of the data set; each must have a patch to itself, but for white where a rule
            marks it.
        config: `side` and `white` are used.
        folder: as in `PatchCache.of_frames`.

    Raises:
        ManifestError: a class has no patch to itself.
    """
    return PatchCache.of_frames(
        store,
        len(classes),
        config.side,
        white=config.white,
        white_index=classes.white_index,
        folder=folder,
    ).require(classes)


def no_single_class(where: str) -> ManifestError:
    """The error of a data set without any patch of one class alone."""
    return ManifestError(
        "no patch is labelled with one class alone",
        where=where,
        expected="patches of a single class for synthesis to put together",
        remedy="Cut smaller patches, or choose a method that learns from mixed patches",
    )


def usual_side(store: FrameStore) -> int:
    """The side that nine in ten single-class windows have room for, in whole pixels.

    Smaller windows are left out where their class has others, while larger ones give several
    squares: where sizes vary, the median would lose half of the windows.

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
    return max(8, int(np.quantile(sides, 0.1))) if sides else 8


def _room(shape: tuple[int, ...], dtype: type, folder: Path | None) -> npt.NDArray[Any]:
    """An array in memory, or in a file of this folder."""
    if folder is None:
        return np.empty(shape, dtype)
    # Without a name: several processes of a run share the folder, and none may cut another's file.
    with TemporaryFile(dir=folder) as file:
        return np.memmap(file, dtype, "w+", shape=shape)


def _cut(image: UInt8, square: Square, side: int) -> UInt8:
    """(side, side, 3); a part that is smaller is padded by its mirror image."""
    part = image[square.y0 : square.y1, square.x0 : square.x1]
    down, right = side - part.shape[0], side - part.shape[1]
    if down == right == 0:
        return part
    pads = ((down // 2, down - down // 2), (right // 2, right - right // 2), (0, 0))
    return np.pad(part, pads, mode="symmetric")
