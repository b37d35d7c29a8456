"""Settings of the synthesis."""

from typing import Literal

from pydantic import Field, NonNegativeInt, field_validator

from histoweak.config import StrictConfig
from histoweak.refine.white import WhiteConfig

Balance = Literal["class", "patch"]
"""`class`: classes equally often, then a patch of the class. `patch`: patches equally often."""


class MosaicConfig(StrictConfig):
    """Mosaics: four grids of single-class cells, each warped and cut to one quadrant.

    `cell` is the side of a cell in pixels, null for half the image or, where patches are smaller,
    the whole patch. `balance` is how classes are drawn. The two split lines lie between `split`
    and 1 - `split` of the image. Each grid is flipped with probability `flip` and, with
    probability `warp`, shifted, scaled and rotated by at most `shift` (share of the side), `scale`
    (relative) and `rotate` (degrees). `turns` also turns each cell by a random multiple of a right
    angle. Cells of which more than `white_limit` is white are drawn again, where the rule for
    white is set and white is not their class. `feather` is the width in pixels of the cross-fade at
    seams, 0 for hard seams. `harmonise` moves the stain of all cells towards that of one of them,
    0 (not) to 1 (wholly).
    """

    cell: int | None = Field(None, ge=4)
    balance: Balance = "class"
    split: float = Field(0.2, ge=0.05, le=0.5)
    flip: float = Field(0.8, ge=0, le=1)
    warp: float = Field(0.8, ge=0, le=1)
    shift: float = Field(0.0625, ge=0, le=0.15)
    scale: float = Field(0.2, ge=0, le=0.4)
    rotate: float = Field(45.0, ge=0, le=180)
    turns: bool = True
    white_limit: float = Field(0.8, gt=0, le=1)
    feather: int = Field(4, ge=0, le=32, multiple_of=2)
    harmonise: float = Field(1.0, ge=0, le=1)


class BezierConfig(StrictConfig):
    """Blobs: one class inside a closed Bezier curve, another one outside.

    `vertices`, `rad` (length of handles over that of edges) and `edgy` (0 round, large pointed)
    shape the curve, `samples` is the number of straight pieces per edge. `spacing` is the rule
    that neighbouring vertices lie 0.7 / `vertices` of the side apart: `euclidean`, `none`, or
    `published`, which by a slip compares dx + dy. `pairs` lists the allowed (background,
    foreground) class indices, null for any two classes equally often. `fit` brings patches to the
    size of the image: `keep` their scale (laid side by side, or cut), or `resize`. `turns` turns
    patches by a random multiple of a right angle. `white` marks white pixels as such, where
    the rule for white is set. `feather` is the width in pixels of the soft edge, 0 for a hard one.
    `harmonise` as for mosaics.
    """

    vertices: int = Field(5, ge=3, le=64)
    rad: float = Field(0.2, ge=0, le=1)
    edgy: float = Field(0.05, ge=0)
    samples: int = Field(24, ge=4, le=200)
    spacing: Literal["euclidean", "published", "none"] = "euclidean"
    pairs: tuple[tuple[NonNegativeInt, NonNegativeInt], ...] | None = Field(None, min_length=1)
    fit: Literal["keep", "resize"] = "keep"
    turns: bool = True
    white: bool = True
    feather: int = Field(4, ge=0, le=32, multiple_of=2)
    harmonise: float = Field(1.0, ge=0, le=1)

    @field_validator("pairs")
    @classmethod
    def _of_two_classes(
        cls, pairs: tuple[tuple[int, int], ...] | None
    ) -> tuple[tuple[int, int], ...] | None:
        alike = [pair for pair in pairs or () if pair[0] == pair[1]]
        if alike:
            raise ValueError(f"{alike}: a blob is of another class than its background")
        return pairs


class SynthesisConfig(StrictConfig):
    """Both kinds of synthetic images.

    `mosaic_share` is the share of mosaics, the rest are blobs. `side` is that of the cached
    single-class patches in pixels, null for one that nine in ten of them have room for. `white`
    is the rule for white background, which masks ignore unless it is one of the classes, null where
    white is tissue.
    """

    mosaic: MosaicConfig = MosaicConfig()
    bezier: BezierConfig = BezierConfig()
    mosaic_share: float = Field(0.5, ge=0, le=1)
    side: int | None = Field(None, ge=8)
    white: WhiteConfig | None = None
