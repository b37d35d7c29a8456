"""CAM, confidence threshold, pseudo-masks, DeepLabV3+.

    patches + labels -> frames -> classifier -> scores (CAM) -> pseudo-masks -> segmenter
                                                          [-> teacher-masks -> segmenter-2]

The classifier is Zhou et al. (CVPR 2016) on VGG-16 or any timm encoder; pixels whose score
reaches 0.70 become pseudo-masks; DeepLabV3+ (Chen et al., ECCV 2018) learns from those alone.
No mask of the training split is read anywhere: stages receive a manifest that has none.
"""

from collections.abc import Sequence
from typing import Any

from pydantic import model_validator

from histoweak.classes import ClassSet
from histoweak.config import StrictConfig
from histoweak.methods.config import MethodConfig
from histoweak.methods.rounds import with_second_round
from histoweak.pipeline import Stage
from histoweak.stages.classifier import ClassifierConfig, classifier_stage
from histoweak.stages.evaluation import evaluation_stage
from histoweak.stages.frames import FramesConfig, frames_stage
from histoweak.stages.pseudo_masks import PseudoMaskConfig, pseudo_mask_stage
from histoweak.stages.scores import ScoresConfig, scores_stage
from histoweak.stages.segmenter import SegmenterConfig, segmenter_stage
from histoweak.stages.teacher_masks import TeacherConfig, teacher_stage
from histoweak.training.selection import selection_of


class SelfTrainingConfig(StrictConfig):
    """One more round: the segmenter relabels the training frames and a second one learns them.

    What `segmenter` leaves open here is as in the first round, and so is `teacher.white`.
    """

    teacher: TeacherConfig = TeacherConfig()
    segmenter: SegmenterConfig = SegmenterConfig()


class Config(MethodConfig):
    """All settings of the method; `self_training` is null for none."""

    frames: FramesConfig = FramesConfig()
    classifier: ClassifierConfig = ClassifierConfig()
    scores: ScoresConfig = ScoresConfig()
    pseudo_masks: PseudoMaskConfig = PseudoMaskConfig()
    segmenter: SegmenterConfig = SegmenterConfig()
    self_training: SelfTrainingConfig | None = None

    @model_validator(mode="before")
    @classmethod
    def _second_as_first(cls, values: Any) -> Any:
        return with_second_round(values, "self_training")


def build(config: Config, classes: ClassSet) -> Sequence[Stage]:
    """Return the stages in order.

    Raises:
        ConfigError: `pseudo_masks.negative` is none of the classes.
    """
    runtime = config.runtime
    starts = {"classifier": config.classifier.net}
    stages = [
        frames_stage(config.frames),
        classifier_stage(config.classifier, runtime),
        scores_stage(config.scores, runtime),
        pseudo_mask_stage(config.pseudo_masks, config.scores.reading, classes, runtime=runtime),
        segmenter_stage(config.segmenter, runtime, masks="pseudo-masks", starts=starts),
    ]
    final = "segmenter"
    if config.self_training is not None:
        final = "segmenter-2"
        round_two = config.self_training
        stages += [
            teacher_stage(round_two.teacher, runtime),
            segmenter_stage(
                round_two.segmenter, runtime, masks="teacher-masks", name=final, starts=starts
            ),
        ]
    names = [s.name for s in stages if s.name.startswith("segmenter")]
    return [
        *stages,
        evaluation_stage(
            config.evaluation,
            runtime,
            segmenters=names,
            cam=config.scores,
            pseudo=config.pseudo_masks,
            selection=selection_of(config),
        ),
    ]
