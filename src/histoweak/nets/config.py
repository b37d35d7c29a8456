"""What the settings of every network share."""

from itertools import pairwise
from pathlib import Path

from pydantic import Field, field_validator

from histoweak.config import StrictConfig


class NetConfig(StrictConfig):
    """Base of the settings of a network whose output is logits (B, K, H, W) per pixel.

    `weights` is where the weights come from that training starts with, null for none: a local
    safetensors file, or a name that the library of the encoder knows.
    """

    weights: str | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """The local file of weights, if there is one."""
        weights = self.weights or ""
        return (Path(weights),) if weights.endswith(".safetensors") else ()


class MapsNetConfig(NetConfig):
    """Base of the settings of a network whose output is class maps (B, K, h, w).

    `strides` are the reductions that it works at, the finest first, which is that of the maps.
    """

    strides: tuple[int, ...] = Field((16,), min_length=1)

    @property
    def freezes(self) -> bool:
        """Whether training leaves convolutions of the encoder as they start."""
        return False

    @field_validator("strides")
    @classmethod
    def _ascending(cls, strides: tuple[int, ...]) -> tuple[int, ...]:
        if any(later <= earlier for earlier, later in pairwise(strides)):
            raise ValueError("strides must ascend, the finest first")
        return strides
