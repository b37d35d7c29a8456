"""HistoSegNet: Grad-CAM of a patch classifier, adjusted between classes; no second network.

    patches + labels -> frames -> classifier -> prediction (Grad-CAM, adjustments, CRF)
                                                    [-> pseudo-masks -> segmenter]

Chan, Hosseini, Rowsell, Plataniotis & Damaskinos (ICCV 2019). One network is trained, on patch
labels; its prediction is Grad-CAM in closed form, scaled to what the classifier believes,
arithmetic between the classes and a dense CRF. No mask of the training split is read anywhere:
stages receive a manifest that has none.
"""

from collections.abc import Sequence

from histoweak.classes import ClassSet
from histoweak.config import StrictConfig
from histoweak.methods.config import MethodConfig
from histoweak.pipeline import Stage
from histoweak.stages.classifier import HistoSegNetClassifierConfig, classifier_stage
from histoweak.stages.evaluation import evaluation_stage
from histoweak.stages.frames import FramesConfig, frames_stage
from histoweak.stages.own_masks import OwnMasksConfig, own_masks_stage
from histoweak.stages.prediction import PredictionConfig, prediction_rungs, prediction_stage
from histoweak.stages.scores import ScoresConfig
from histoweak.stages.segmenter import SegmenterConfig, segmenter_stage
from histoweak.training.selection import selection_of


class StudentConfig(StrictConfig):
    """A segmenter that learns the prediction on the training frames; not part of the paper."""

    masks: OwnMasksConfig = OwnMasksConfig()
    segmenter: SegmenterConfig = SegmenterConfig()


class Config(MethodConfig):
    """All settings of the method; `student` is null for none."""

    frames: FramesConfig = FramesConfig()
    classifier: HistoSegNetClassifierConfig = HistoSegNetClassifierConfig()
    prediction: PredictionConfig = PredictionConfig()
    student: StudentConfig | None = None


def build(config: Config, classes: ClassSet) -> Sequence[Stage]:
    """Return the stages in order.

    Raises:
        ConfigError: `prediction` names a class that is none of the data set.
    """
    runtime, assemble = config.runtime, config.frames.assemble
    crop = config.classifier.crop
    stages = [
        frames_stage(config.frames),
        classifier_stage(config.classifier, runtime),
        prediction_stage(config.prediction, runtime, classes, crop=crop, assemble=assemble),
    ]
    segmenters = []
    if config.student is not None:
        segmenters = ["segmenter"]
        stages += [
            own_masks_stage(config.student.masks, runtime),
            segmenter_stage(
                config.student.segmenter,
                runtime,
                masks="pseudo-masks",
                starts={"classifier": config.classifier.net},
            ),
        ]
    return [
        *stages,
        evaluation_stage(
            config.evaluation,
            runtime,
            segmenters=segmenters,
            cam=ScoresConfig(tta="none"),
            rungs=prediction_rungs(config.prediction, config.evaluation.tile),
            selection=selection_of(config),
        ),
    ]
