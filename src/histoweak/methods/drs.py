"""DRS: a classifier that cannot look at its strongest pixels alone, and a network that refines it.

    patches + labels -> frames -> classifier (region suppression) -> scores
          scores -> refiner -> refined-scores -> pseudo-masks -> segmenter

Kim, Han & Kim, "Discriminative Region Suppression for Weakly-Supervised Semantic Segmentation"
(AAAI 2021, arXiv 2103.07246). There the background comes from a saliency network that pixel masks
have trained; on tissue, where salient means dark, it is learned from the patch labels here.
"""

from collections.abc import Sequence

from histoweak.classes import ClassSet
from histoweak.methods.config import MethodConfig
from histoweak.pipeline import Stage
from histoweak.stages.classifier import SuppressedClassifierConfig, classifier_stage
from histoweak.stages.evaluation import evaluation_stage
from histoweak.stages.frames import FramesConfig, frames_stage
from histoweak.stages.pseudo_masks import PseudoMaskConfig, pseudo_mask_stage
from histoweak.stages.refined_scores import refined_scores_stage, refinement_rung
from histoweak.stages.refiner import RefinerConfig, refiner_stage
from histoweak.stages.scores import ScoresConfig, scores_stage
from histoweak.stages.segmenter import SegmenterConfig, segmenter_stage
from histoweak.training.selection import selection_of


class Config(MethodConfig):
    """All settings of the method; `refiner` is null for none."""

    frames: FramesConfig = FramesConfig()
    classifier: SuppressedClassifierConfig = SuppressedClassifierConfig()
    scores: ScoresConfig = ScoresConfig()
    refiner: RefinerConfig | None = RefinerConfig()
    pseudo_masks: PseudoMaskConfig = PseudoMaskConfig()
    segmenter: SegmenterConfig = SegmenterConfig()


def build(config: Config, classes: ClassSet) -> Sequence[Stage]:
    """Return the stages in order.

    Raises:
        ConfigError: `pseudo_masks` do not fit the classes or the scores, the refinement network
            is to start from a classifier of other layers, or the segmenter from a refinement
            network that there is none of.
    """
    runtime, reading = config.runtime, config.scores.reading
    stages = [
        frames_stage(config.frames),
        classifier_stage(config.classifier, runtime),
        scores_stage(config.scores, runtime),
    ]
    scored, rungs = "scores", []
    refiners = {} if config.refiner is None else {"refiner": config.refiner.net}
    if config.refiner is not None:
        scored = "refined-scores"
        stages += [
            refiner_stage(config.refiner, config.classifier.net, reading, runtime),
            refined_scores_stage(config.scores, runtime),
        ]
        rungs = [refinement_rung(config.scores, config.evaluation.tile)]
    return [
        *stages,
        pseudo_mask_stage(config.pseudo_masks, reading, classes, scored, runtime=runtime),
        segmenter_stage(
            config.segmenter,
            runtime,
            masks="pseudo-masks",
            starts={"classifier": config.classifier.net, **refiners},
        ),
        evaluation_stage(
            config.evaluation,
            runtime,
            segmenters=["segmenter"],
            cam=config.scores,
            # On held-out images they would be made from the classifier's scores; training masks
            # are made from those of the refinement network, or with maps of another program.
            pseudo=None if rungs or config.pseudo_masks.background else config.pseudo_masks,
            selection=selection_of(config),
            rungs=rungs,
        ),
    ]
