"""Settings of a synthetic data set."""

import math
from typing import Annotated, Self

from pydantic import Field, model_validator

from histoweak.config import StrictConfig
from histoweak.data.phantom.regions import TISSUES

Share = Annotated[float, Field(ge=0, le=1)]


class PhantomConfig(StrictConfig):
    """What to generate.

    The default of 1 micron per pixel is that of a 10x objective, at which the public data sets of
    patch labels (LUAD-HistoSeg) are: a patch of 224 pixels spans twenty cells, so that several
    tissues meet in it, and a lymphocyte's nucleus is six pixels wide. 0.5 shows chromatin and
    nucleoli, on a quarter of the area.

    Args:
        patches: number of patches.
        patch_size: height and width in pixels.
        mpp: microns per pixel.
        patients: number of patients; each has stains, brightness and tissue habits of its own.
        splits: shares of the patients in train, val and test, which sum to 1. A share above 0
            has at least one patient.
        single_tissue: share of the patches that hold one tissue only.
        white_share: share of the patches that hold white background beside tissue.
        proportions: how often tumour, stroma, lymphocytes and necrosis are chosen, relative.
        presence: a class is present where it covers more than this share of a patch.
        region_um: microns, half the width of a typical region; smaller where a patch is too
            small to hold two of them.
        seed: decides everything.
    """

    patches: int = Field(600, ge=1)
    patch_size: int = Field(224, ge=16, le=8192)
    mpp: float = Field(1.0, ge=0.2, le=2.0)
    patients: int = Field(24, ge=1)
    splits: tuple[Share, Share, Share] = (0.6, 0.15, 0.25)
    single_tissue: Share = 0.5
    white_share: Share = 0.25
    proportions: tuple[Share, Share, Share, Share] = (0.3, 0.3, 0.2, 0.2)
    presence: float = Field(0.05, ge=0, lt=0.3)
    region_um: float = Field(75.0, gt=5, le=2000)
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if not math.isclose(sum(self.splits), 1, abs_tol=1e-6):
            raise ValueError("splits must sum to 1")
        filled = sum(share > 0 for share in self.splits)
        if self.patients < filled:
            raise ValueError(f"{filled} splits need at least {filled} patients")
        if self.patches < self.patients:
            raise ValueError("each patient needs a patch: patches must not be below patients")
        chosen = sum(share > 0 for share in self.proportions)
        if chosen == 0 or (chosen == 1 and self.single_tissue < 1):
            raise ValueError(
                f"patches of several tissues need two above 0 in proportions ({', '.join(TISSUES)})"
            )
        return self
