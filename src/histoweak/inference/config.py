"""How a trained network is applied to an image."""

from collections.abc import Sequence
from typing import Annotated, TypedDict

from pydantic import Field, model_validator

from histoweak.config import StrictConfig
from histoweak.inference.tta import Tta
from histoweak.refine.config import Chain, RefinerConfig

Scales = Annotated[
    tuple[Annotated[float, Field(ge=0.1, le=10)], ...], Field(min_length=1, max_length=16)
]
"""Magnifications, e.g. `(1.0, 1.5, 2.0)`."""


class InferenceConfig(StrictConfig):
    """Settings of inference; all but `batch` can change the result slightly.

    Images larger than `tile` pixels on a side (at the scale of the model) are cut into tiles that
    share `overlap` pixels, a quarter of a tile when null; `batch` tiles are computed at once.
    `tta` averages over orientations: none, mirror (2), flips (4) or d4 (8). `scales` are the
    magnifications at which pixels are labelled, their probabilities are averaged; what a
    classifier says of an image as a whole it says at scale 1 alone. `refine` are refiners that the
    probabilities go through, at the scale of the model; they need those of the whole image in
    memory.
    """

    tta: Tta = "none"
    tile: int = Field(1024, ge=32)
    overlap: int | None = Field(None, ge=0)
    batch: int = Field(2, ge=1)
    scales: Scales = (1.0,)
    refine: Chain = ()

    @model_validator(mode="after")
    def _overlap_fits(self) -> "InferenceConfig":
        if self.overlap is not None and self.overlap >= self.tile:
            raise ValueError(f"overlap {self.overlap} is not smaller than tile {self.tile}")
        return self

    @property
    def pixels(self) -> int:
        """How many pixels are computed at once."""
        return self.batch * self.tile**2

    def at_once(self, height: int, width: int) -> int:
        """How many images of one size share a pass: what it may hold, if each fits into a tile."""
        return max(1, self.pixels // (height * width)) if max(height, width) <= self.tile else 1

    def grid(self, multiple: int = 1) -> tuple[int, int]:
        """Tile and overlap in pixels, rounded to multiples that the network can divide evenly."""
        tile = max(1, self.tile // multiple) * multiple
        overlap = self.tile // 4 if self.overlap is None else self.overlap
        return tile, min(-(-overlap // multiple) * multiple, tile - multiple)


def views(tta: Tta, scales: Sequence[float], refiners: Sequence[str] = ()) -> str:
    """What was averaged over in words, for tables: `d4`, or `d4 at scales 1, 1.5, then crf`."""
    words: str = tta
    if tuple(scales) != (1.0,):
        words += f" at scales {', '.join(f'{scale:g}' for scale in scales)}"
    return ", then ".join([words, *refiners])


class Options(TypedDict, total=False):
    """The fields of `InferenceConfig` as keyword arguments."""

    tta: Tta
    tile: int
    overlap: int | None
    batch: int
    scales: tuple[float, ...]
    refine: Sequence[RefinerConfig | str]
