"""IRN: seeds from class maps, boundaries learned from pairs of seeds, a random walk between them.

    patches + labels -> frames -> classifier -> scores (CAM) -> seeds -> boundary
                                                  |                        |
                                                  +---------> walk <-------+
                                                               |
                                                  pseudo-masks -> segmenter

Ahn, Cho and Kwak, "Weakly supervised learning of instance segmentation with inter-pixel relations"
(CVPR 2019). Pairs of near seeds tell a network where one class ends and another begins; the scores
of the classifier then spread by a random walk that such boundaries stop. No mask of the training
split is read anywhere: stages receive a manifest that has none.
"""

from collections.abc import Sequence

from histoweak.classes import ClassSet
from histoweak.errors import ConfigError
from histoweak.methods.config import MethodConfig
from histoweak.pipeline import Stage
from histoweak.stages.boundary import BoundaryConfig, boundary_stage
from histoweak.stages.classifier import ClassifierConfig, classifier_stage
from histoweak.stages.evaluation import evaluation_stage
from histoweak.stages.frames import FramesConfig, frames_stage
from histoweak.stages.pseudo_masks import PseudoMaskConfig, pseudo_mask_stage
from histoweak.stages.scores import ScoresConfig, scores_stage
from histoweak.stages.seeds import SeedsConfig, seeds_stage
from histoweak.stages.segmenter import SegmenterConfig, segmenter_stage
from histoweak.stages.walk import walk_stage
from histoweak.stages.walk_config import WalkConfig
from histoweak.stages.walk_rung import walk_rung
from histoweak.training.selection import selection_of


class Config(MethodConfig):
    """All settings of the method."""

    frames: FramesConfig = FramesConfig()
    classifier: ClassifierConfig = ClassifierConfig()
    scores: ScoresConfig = ScoresConfig()
    seeds: SeedsConfig = SeedsConfig()
    boundary: BoundaryConfig = BoundaryConfig()
    walk: WalkConfig = WalkConfig()
    pseudo_masks: PseudoMaskConfig = PseudoMaskConfig()
    segmenter: SegmenterConfig = SegmenterConfig()


def build(config: Config, classes: ClassSet) -> Sequence[Stage]:
    """Return the stages in order.

    Raises:
        ConfigError: a class that the settings name is none of the classes, or is missing; or
            instances are asked for without displacements.
    """
    if config.walk.instances and not config.boundary.displacement:
        raise ConfigError(
            "walk.instances without boundary.displacement",
            expected="displacements, which tell the objects of a class apart",
            remedy="Set boundary.displacement=true, or walk.instances=false",
        )
    runtime, reading = config.runtime, config.scores.reading
    starts = {"classifier": config.classifier.net}
    return [
        frames_stage(config.frames),
        classifier_stage(config.classifier, runtime),
        scores_stage(config.scores, runtime),
        seeds_stage(config.seeds, reading, classes, runtime),
        boundary_stage(config.boundary, runtime, classes),
        walk_stage(config.walk, runtime, classes),
        pseudo_mask_stage(config.pseudo_masks, reading, classes, scores="walk", runtime=runtime),
        segmenter_stage(config.segmenter, runtime, masks="pseudo-masks", starts=starts),
        evaluation_stage(
            config.evaluation,
            runtime,
            segmenters=["segmenter"],
            cam=config.scores,
            rungs=[walk_rung(config.walk, classes, config.pseudo_masks.threshold)],
            selection=selection_of(config),
        ),
    ]
