"""Settings of the dense CRF, and those of published sources by name."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from histoweak.config import StrictConfig, merge
from histoweak.refine.colors import Space


class GaussianConfig(StrictConfig):
    """The smoothness kernel: near pixels agree, whatever the image shows.

    `sigma` is in pixels of the image, `weight` in nats: what full agreement around a pixel adds
    to the logarithm of a class.
    """

    sigma: float = Field(3.0, gt=0, allow_inf_nan=False)
    weight: float = Field(1.0, ge=0, allow_inf_nan=False)


class BilateralConfig(StrictConfig):
    """The appearance kernel: near pixels of like colour agree.

    `sigma` is in pixels of the image, `color` in units of the colour space per channel (0 to 255
    in `rgb`; in `od` the natural optical density, 0 on white and about 1 on dark nuclei), `weight`
    as for the smoothness kernel.
    """

    sigma: float = Field(12.0, gt=0, allow_inf_nan=False)
    color: float = Field(0.03, gt=0, allow_inf_nan=False)
    weight: float = Field(3.0, ge=0, allow_inf_nan=False)


PRESETS: dict[str, dict[str, Any]] = {
    "hne": {},
    "irn": {
        "unary": "labels",
        "confidence": 0.7,
        "gaussian": {"sigma": 3.0, "weight": 3.0},
        "bilateral": {"sigma": 50.0, "color": 5.0, "weight": 10.0},
        "iterations": 10,
    },
    "histosegnet": {
        "gaussian": {"sigma": 3.0, "weight": 30.0},
        "bilateral": {"sigma": 10.0, "color": 20.0, "weight": 50.0},
        "iterations": 5,
    },
    "wsss-analysis": {
        "gaussian": {"sigma": 1.5, "weight": 3.0},
        "bilateral": {"sigma": 40.0, "color": 13.0, "weight": 10.0},
        "iterations": 10,
    },
    "drs": {
        "gaussian": {"sigma": 1.0, "weight": 3.0},
        "bilateral": {"sigma": 67.0, "color": 3.0, "weight": 4.0},
        "iterations": 10,
    },
}
"""Settings by name. `hne` is the defaults of `CrfConfig`.

`irn`: Ahn et al. (CVPR 2019), released code, seed labels; `histosegnet`: Chan et al. (ICCV 2019),
defaults of the released code; `wsss-analysis`: Chan et al. (IJCV 2021), released code, VGG-16 on
photographs and satellite images; `drs`: Kim et al. (AAAI 2021), released settings of its segmenter.
"""

SOURCE = {"space": "rgb", "blur": 0.0, "shrink": 1, "unary": "scores", "window": 3.0}
"""What all sources have in common and `hne` has not."""


class CrfConfig(StrictConfig):
    """Fully connected CRF by mean-field iteration; Kraehenbuehl & Koltun (NIPS 2011).

    `preset` fills in what is not given. `unary` is the negative logarithm of the `scores`, or of
    `confidence` for the strongest class (`labels`). `rest` is a constant score of "none of the
    classes" that competes with them, for maps that do not sum to 1; null for none. Pixels at which
    no class scores stay without one, or with `fill` take that of their surroundings. Colours are
    compared in `space`, after a Gaussian `blur` in pixels. The iteration works on the image shrunk
    by `shrink`; the last step is taken at full size. Kernels are cut off at `window` standard
    deviations, and the appearance kernel looks at every `step`-th (shrunk) pixel per side.
    """

    kind: Literal["crf"] = "crf"
    preset: Literal["hne", "irn", "histosegnet", "wsss-analysis", "drs"] = "hne"
    unary: Literal["scores", "labels"] = "scores"
    confidence: float = Field(0.7, gt=0, lt=1)
    rest: float | None = Field(None, gt=0, le=1)
    fill: bool = False
    gaussian: GaussianConfig | None = GaussianConfig()
    bilateral: BilateralConfig | None = BilateralConfig()
    iterations: int = Field(5, ge=1, le=100)
    space: Space = "od"
    blur: float = Field(1.5, ge=0, le=100)
    shrink: int = Field(2, ge=1, le=32)
    window: float = Field(3.0, gt=0, allow_inf_nan=False)
    step: int = Field(1, ge=1, le=32)

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        preset = PRESETS.get(str(values.get("preset", "hne")))
        return merge([SOURCE, preset, values]) if preset else values
