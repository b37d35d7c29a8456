"""Masks that an earlier stage wrote, as training reads them."""

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from histoweak.stages.pseudo_masks import mask_file

KEPT_BYTES = 1 << 28
"""Bytes of masks that a process keeps: each loader process has its own."""


class PngMasks:
    """Reads the masks that a stage wrote, one PNG per frame and layer, and keeps the latest.

    Args:
        folder: artefact of the stage.
        layers: which layers to stack, as `mask_file` counts them; None for the deepest alone.
        kept_bytes: of the masks that were asked for last, how many stay in memory.
    """

    def __init__(
        self,
        folder: Path,
        layers: Sequence[int | None] | None = None,
        kept_bytes: int = KEPT_BYTES,
    ) -> None:
        self.folder, self.layers, self.kept_bytes = folder, layers, kept_bytes
        self._kept: OrderedDict[int, npt.NDArray[np.uint8]] = OrderedDict()
        self._bytes = 0

    def __call__(self, index: int) -> npt.NDArray[np.uint8]:
        """Mask of the frame at an index: (H, W) uint8, or (M, H, W) for given layers."""
        if index in self._kept:
            self._kept.move_to_end(index)
            return self._kept[index]
        mask = self._kept[index] = self._read(index)
        self._bytes += mask.nbytes
        while self._bytes > self.kept_bytes:
            _, oldest = self._kept.popitem(last=False)
            self._bytes -= oldest.nbytes
        return mask

    def _read(self, index: int) -> npt.NDArray[np.uint8]:
        if self.layers is None:
            return np.asarray(Image.open(self.folder / mask_file(index)))
        files = [self.folder / mask_file(index, layer) for layer in self.layers]
        return np.stack([np.asarray(Image.open(file)) for file in files])
