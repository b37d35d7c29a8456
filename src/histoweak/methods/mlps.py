"""MLPS: three layers of one classifier, three pseudo-masks, one segmenter.

    patches + labels -> frames -> classifier -> scores of 3 layers -> 3 pseudo-masks -> segmenter
                                  (progressive     (Grad-CAM)         (white, labels)   (weighted
                                   dropout                                              losses)
                                   attention)

Han et al., "Multi-layer pseudo-supervision for histopathology tissue semantic segmentation using
patch-level classification labels" (Medical Image Analysis 80, 2022, 102487). The classifier is a
ResNet38-d or any timm encoder; in training the head looks away from what it sees best. Grad-CAMs
of three depths become three masks per frame, and DeepLabV3+ learns from all of them at once. On
new images the classifier says which classes the segmenter may name (the gate).
"""

from collections.abc import Sequence
from typing import Literal

from histoweak.classes import ClassSet
from histoweak.errors import ConfigError
from histoweak.methods.config import MethodConfig
from histoweak.pipeline import Stage
from histoweak.stages.classifier import classifier_stage
from histoweak.stages.evaluation import evaluation_stage
from histoweak.stages.evaluation_config import EvaluationConfig
from histoweak.stages.frames import FramesConfig, frames_stage
from histoweak.stages.layers import AttentiveLook, LayerClassifierConfig, layer_rungs
from histoweak.stages.pseudo_masks import PseudoMaskConfig, pseudo_mask_stage
from histoweak.stages.scores import LayerScoresConfig, scores_stage
from histoweak.stages.segmenter import LayeredSegmenterConfig, segmenter_stage
from histoweak.training.selection import selection_of


class GatedEvaluationConfig(EvaluationConfig):
    """What is scored and how: as in `EvaluationConfig`, with the gate on."""

    gate: Literal["none", "predicted"] = "predicted"


class Config(MethodConfig):
    """All settings of the method."""

    frames: FramesConfig = FramesConfig()
    classifier: LayerClassifierConfig = LayerClassifierConfig()
    scores: LayerScoresConfig = LayerScoresConfig()
    pseudo_masks: PseudoMaskConfig = PseudoMaskConfig()
    segmenter: LayeredSegmenterConfig = LayeredSegmenterConfig()
    evaluation: GatedEvaluationConfig = GatedEvaluationConfig()


def build(config: Config, classes: ClassSet) -> Sequence[Stage]:
    """Return the stages in order.

    Raises:
        ConfigError: `pseudo_masks.negative` is none of the classes, or the segmenter weighs
            another number of layers than the classifier has.
    """
    runtime, layers = config.runtime, config.classifier.net.layers
    if len(config.segmenter.mask_weights) != len(layers):
        raise ConfigError(
            f"segmenter.mask_weights = {list(config.segmenter.mask_weights)}",
            expected=f"one weight for each of the layers {', '.join(layers)}",
            remedy="Give as many weights as layers; 0 leaves a layer out",
        )
    return [
        frames_stage(config.frames),
        classifier_stage(config.classifier, runtime, AttentiveLook(config.classifier)),
        scores_stage(config.scores, runtime),
        pseudo_mask_stage(config.pseudo_masks, config.scores.reading, classes, runtime=runtime),
        segmenter_stage(config.segmenter, runtime, masks="pseudo-masks"),
        evaluation_stage(
            config.evaluation,
            runtime,
            segmenters=["segmenter"],
            cam=config.scores,
            pseudo=config.pseudo_masks,
            selection=selection_of(config),
            rungs=layer_rungs(config.scores, layers),
        ),
    ]
