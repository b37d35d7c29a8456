"""A chain of refiners as settings: each by its kind, or in one word such as `crf:hne`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from histoweak.config import StrictConfig
from histoweak.refine.crf_config import CrfConfig
from histoweak.refine.white import WhiteConfig

MAIN = {"crf": "preset", "superpixels": "size", "walk": "steps", "white": "gray", "sam": "weights"}
"""The setting of each kind that may follow a colon."""


SAM_FILES = ("config.json", "model.safetensors")


class SuperpixelConfig(StrictConfig):
    """Every superpixel takes the mean of its scores; Achanta et al. (SLIC, TPAMI 2012).

    Superpixels are about `size` pixels wide; `compactness` weighs distance against colour (in
    CIELAB) and `blur` smooths the image first, in pixels.
    """

    kind: Literal["superpixels"] = "superpixels"
    size: float = Field(8.0, gt=1, le=1000)
    compactness: float = Field(10.0, gt=0, allow_inf_nan=False)
    blur: float = Field(1.0, ge=0, le=100)


class WalkRefinerConfig(StrictConfig):
    """Scores walk over the image until its edges stop them; Grady (TPAMI 2006).

    Edges are where optical density changes, after a Gaussian `blur` in pixels, on cells of `shrink`
    pixels; the quantile `strongest` of all cells counts as a full edge. Cells closer than `radius`
    cells exchange scores in `steps` steps, with affinities to the power `beta`: the higher, the
    fainter the edges that stop them.
    """

    kind: Literal["walk"] = "walk"
    steps: int = Field(32, ge=1, le=4096)
    radius: int = Field(5, ge=2, le=20)
    beta: float = Field(5.0, gt=0, allow_inf_nan=False)
    shrink: int = Field(1, ge=1, le=64)
    blur: float = Field(1.5, ge=0, le=100)
    strongest: float = Field(0.95, gt=0, le=1)


class WhiteRefinerConfig(WhiteConfig):
    """White background scores 0 for every class; the rule is that of `WhiteConfig`."""

    kind: Literal["white"] = "white"


class SamConfig(StrictConfig):
    """Every segment of Segment Anything takes the mean of its scores (needs histoweak[sam]).

    Kirillov et al. (ICCV 2023). `weights` is a folder with `config.json` and `model.safetensors` in
    the form of the library transformers. Segments are asked for at `points` x `points` places;
    those of which the network expects an IoU below `quality`, or that cover more than `largest`
    of the image, do not vote. `batch` places are asked at once.
    """

    kind: Literal["sam"] = "sam"
    weights: str = Field(min_length=1)
    points: int = Field(16, ge=1, le=128)
    quality: float = Field(0.8, ge=0, le=1)
    largest: float = Field(0.5, gt=0, le=1)
    batch: int = Field(64, ge=1)

    @property
    def files(self) -> tuple[Path, ...]:
        """Files whose content decides what it does."""
        return tuple(Path(self.weights) / name for name in SAM_FILES)


def _in_full(value: Any) -> Any:
    """`crf:hne` as the mapping it stands for."""
    if not isinstance(value, str):
        return value
    kind, colon, main = value.partition(":")
    if kind not in MAIN:
        raise ValueError(f"no refiner is called {kind!r}; there are {', '.join(MAIN)}")
    return {"kind": kind, MAIN[kind]: main} if colon else {"kind": kind}


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str | Mapping) else value


Refiners = CrfConfig | SuperpixelConfig | WalkRefinerConfig | WhiteRefinerConfig | SamConfig
RefinerConfig = Annotated[
    Annotated[Refiners, Field(discriminator="kind")], BeforeValidator(_in_full)
]
"""Settings of one refiner, told apart by `kind`."""

Chain = Annotated[tuple[RefinerConfig, ...], BeforeValidator(_listed)]
"""Refiners in the order in which they are applied; a single one needs no list."""


def files_of(chain: Sequence[RefinerConfig]) -> tuple[Path, ...]:
    """Files whose content decides what a chain does, beside its settings."""
    return tuple(f for one in chain if isinstance(one, SamConfig) for f in one.files)
