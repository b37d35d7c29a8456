"""What is measured of the classifier while held-out images pass by."""

from typing import Any

import numpy as np
import numpy.typing as npt

from histoweak.data.manifest import Record
from histoweak.pipeline import StageContext
from histoweak.refine.white import WhiteConfig
from histoweak.stages.evaluation_config import EvaluationConfig
from histoweak.stages.evidence import EvidenceSums
from histoweak.stages.faithfulness import Faithfulness
from histoweak.stages.pseudo_masks import PseudoMaskConfig
from histoweak.stages.pseudo_quality import PseudoMaskTally
from histoweak.stages.view import Patch, View, Viewer

UInt8 = npt.NDArray[np.uint8]


class Judge:
    """Everything that is measured of the classifier.

    Args:
        config: what to measure.
        pseudo: settings of the pseudo-masks; None where scores do not become any.
        viewer: the classifier.
        context: gives seed and classes.
        total: number of images.
    """

    def __init__(
        self,
        config: EvaluationConfig,
        pseudo: PseudoMaskConfig | None,
        viewer: Viewer,
        context: StageContext,
        total: int,
    ) -> None:
        classes = context.manifest.classes
        self.viewer = viewer
        self.pseudo = (
            PseudoMaskTally(pseudo, viewer.cam.reading, classes) if pseudo is not None else None
        )
        white = (pseudo and pseudo.white) or WhiteConfig()
        rule = (config.evidence_energy, config.evidence_iou)
        self.sums = EvidenceSums(classes.names, *rule, white) if config.evidence else None
        self.faithfulness = Faithfulness(viewer, config.faithfulness, total, context.seed)

    def update(self, index: int, record: Record, image: UInt8, truth: UInt8, view: View) -> None:
        """Count one image."""
        if self.pseudo is not None or self.sums is not None:
            patch = Patch.of(record, image, truth, view)
            if self.pseudo is not None:
                self.pseudo.update(patch)
            if self.sums is not None:
                self.sums.update(patch)
        self.faithfulness.update(index, str(record.image), image, record.mpp, view)

    def figures(self) -> dict[str, Any]:
        """The parts of `evaluation.json` on the classifier; null for what was not measured."""
        cam = {"tta": self.viewer.cam.tta, "reading": self.viewer.cam.reading, "gate": "none"}
        labels = self.sums.classification() if self.sums else None
        return {
            "classification": labels and {"tta": cam["tta"], "gate": "none", **labels},
            "evidence": {**cam, **self.sums.figures()} if self.sums else None,
            "pseudo_masks": {**cam, **self.pseudo.figures()} if self.pseudo else None,
            "faithfulness": self.faithfulness.figures(),
        }
