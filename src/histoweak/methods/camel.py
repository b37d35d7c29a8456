"""CAMEL: combined multiple instance learning, label enrichment, segmentation.

    patches + labels -> frames -+-> cmil-max -+-> instances -> classifier -> scores (enrichment)
                                +-> cmil-min -+                     -> pseudo-masks -> segmenter
    [before it the same on a coarser lattice -> bags, whose instances are bags beside the patches]

Xu et al., "CAMEL: A weakly supervised learning framework for histopathology image segmentation"
(ICCV 2019). Two classifiers of small squares learn from the labels of the patches they lie in, by
opposite choices of the square that answers for the label. Squares on which they agree with the
label train a third one, which labels all squares of all patches; DeepLabV3+ learns those labels.
"""

from collections.abc import Sequence

from pydantic import Field

from histoweak.classes import ClassSet
from histoweak.methods.config import MethodConfig
from histoweak.pipeline import Stage
from histoweak.stages.bags import CascadeConfig, bags_stage
from histoweak.stages.cmil import CmilConfig, Round, cmil_stage
from histoweak.stages.evaluation import evaluation_stage
from histoweak.stages.frames import FramesConfig, frames_stage
from histoweak.stages.instance_classifier import (
    InstanceClassifierConfig,
    instance_classifier_stage,
)
from histoweak.stages.instance_evaluation import instance_evaluation_stage
from histoweak.stages.instances import InstancesConfig, instances_stage
from histoweak.stages.pseudo_masks import PseudoMaskConfig, pseudo_mask_stage
from histoweak.stages.scores import ScoresConfig, scores_stage
from histoweak.stages.segmenter import SegmenterConfig, segmenter_stage
from histoweak.training.selection import selection_of


class EnrichmentConfig(PseudoMaskConfig):
    """How the classifier's word on every instance becomes labels of pixels.

    As for other pseudo-masks, but every instance of tissue gets the more probable class: the
    lattice is coarse enough without holes.
    """

    threshold: float = Field(0.5, gt=0, le=1)
    gate: float | None = Field(None, ge=0, le=1)
    min_area: float = Field(0.0, ge=0, lt=1)


class Config(MethodConfig):
    """All settings of the method; `cascade` is null for one round."""

    frames: FramesConfig = FramesConfig()
    cmil: CmilConfig = CmilConfig()
    cascade: CascadeConfig | None = None
    instances: InstancesConfig = InstancesConfig()
    classifier: InstanceClassifierConfig = InstanceClassifierConfig()
    scores: ScoresConfig = ScoresConfig(tta="flips")
    pseudo_masks: EnrichmentConfig = EnrichmentConfig()
    segmenter: SegmenterConfig = SegmenterConfig()


def build(config: Config, classes: ClassSet) -> Sequence[Stage]:
    """Return the stages in order.

    Raises:
        ConfigError: `pseudo_masks.negative` is none of the classes.
    """
    runtime = config.runtime
    starts = {"classifier": config.cmil.net}
    stages = [frames_stage(config.frames)]
    last = Round()
    if config.cascade is not None:
        coarse, last = Round("coarse"), Round(bags=("bags",))
        stages += _round(config, config.cascade.cmil, coarse)
        stages += [bags_stage(config.cascade.bags, runtime, coarse)]
    return [
        *stages,
        *_round(config, config.cmil, last),
        scores_stage(config.scores, runtime),
        pseudo_mask_stage(config.pseudo_masks, config.scores.reading, classes, runtime=runtime),
        segmenter_stage(config.segmenter, runtime, masks="pseudo-masks", starts=starts),
        instance_evaluation_stage(config.evaluation, runtime),
        evaluation_stage(
            config.evaluation,
            runtime,
            segmenters=["segmenter"],
            cam=config.scores,
            pseudo=config.pseudo_masks,
            selection=selection_of(config),
        ),
    ]


def _round(config: Config, cmil: CmilConfig, round_: Round) -> list[Stage]:
    """Two classifiers, the instances on which they agree, and the classifier of those."""
    runtime = config.runtime
    return [
        cmil_stage(cmil, runtime, "max-max", round_),
        cmil_stage(cmil, runtime, "max-min", round_),
        instances_stage(config.instances, cmil.bags, runtime, round_),
        instance_classifier_stage(config.classifier, cmil.net, cmil.bags, runtime, round_),
    ]
