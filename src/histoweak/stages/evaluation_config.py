"""What is scored on held-out images, and how."""

from typing import Literal

from pydantic import Field

from histoweak.config import StrictConfig
from histoweak.inference.config import Scales
from histoweak.inference.gate import Form
from histoweak.inference.tta import Tta


class EvaluationConfig(StrictConfig):
    """What is scored and how.

    `split` is scored (`test`, or `val` where there is no test split, when null); segmenters
    predict with `tta` and at all of `scales`, on tiles of `tile` pixels; `samples` images are kept
    with all intermediate pictures for the report.
    Boundaries of the `last` rung, of `all` or of `none` are compared at `tolerance_um` microns, on
    images whose pixels are known to be no larger. `evidence` judges where the classifier looks: a
    patch has right evidence when, for each of its classes, the share `evidence_energy` of the
    scores lies on the tissue and scores from 0.5 on overlap it by an IoU of `evidence_iou`.
    Insertion and deletion are tried on `faithfulness` images, drawn with the seed.

    With `gate` on `predicted`, segmenters may only say what the classifier of the run finds in
    the image as a whole with a probability above `gate_threshold`; where it finds nothing, all.
    `gate_form` is `exclude`, or `multiply`: logits of other classes are set to 0, as some released
    code does, so that they win where all others are negative.
    """

    split: Literal["val", "test"] | None = None
    tta: Tta = "none"
    tile: int = Field(1024, ge=64)
    overlap: int | None = Field(None, ge=0)
    scales: Scales = (1.0,)
    samples: int = Field(9, ge=0)
    max_skipped: float = Field(0.05, ge=0, le=1)
    boundary: Literal["last", "all", "none"] = "last"
    tolerance_um: float = Field(5.0, gt=0, allow_inf_nan=False)
    evidence: bool = True
    evidence_energy: float = Field(0.5, ge=0, le=1)
    evidence_iou: float = Field(0.3, ge=0, le=1)
    faithfulness: int = Field(2, ge=0)
    gate: Literal["none", "predicted"] = "none"
    gate_threshold: float = Field(0.1, ge=0, le=1)
    gate_form: Form = "exclude"

    def gate_words(self) -> str:
        """The gate as tables name it."""
        if self.gate == "none":
            return "none"
        times = ", logits times 0 or 1" if self.gate_form == "multiply" else ""
        return f"predicted > {self.gate_threshold:g}{times}"
