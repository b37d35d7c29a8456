"""How a trained network is applied to an image."""

from typing import TypedDict

from pydantic import Field, model_validator

from histoweak.config import StrictConfig
from histoweak.inference.tta import Tta


class InferenceConfig(StrictConfig):
    """Settings of inference; all but `batch` can change the result slightly.

    Images larger than `tile` pixels on a side (at the scale of the model) are cut into tiles that
    share `overlap` pixels, a quarter of a tile when null; `batch` tiles are computed at once.
    `tta` averages over orientations: none, flips (4) or d4 (8).
    """

    tta: Tta = "none"
    tile: int = Field(1024, ge=32)
    overlap: int | None = Field(None, ge=0)
    batch: int = Field(2, ge=1)

    @model_validator(mode="after")
    def _overlap_fits(self) -> "InferenceConfig":
        if self.overlap is not None and self.overlap >= self.tile:
            raise ValueError(f"overlap {self.overlap} is not smaller than tile {self.tile}")
        return self

    @property
    def pixels(self) -> int:
        """How many pixels are computed at once."""
        return self.batch * self.tile**2

    def grid(self, multiple: int = 1) -> tuple[int, int]:
        """Tile and overlap in pixels, rounded to multiples that the network can divide evenly."""
        tile = max(1, self.tile // multiple) * multiple
        overlap = self.tile // 4 if self.overlap is None else self.overlap
        return tile, min(-(-overlap // multiple) * multiple, tile - multiple)


class Options(TypedDict, total=False):
    """The fields of `InferenceConfig` as keyword arguments."""

    tta: Tta
    tile: int
    overlap: int | None
    batch: int
