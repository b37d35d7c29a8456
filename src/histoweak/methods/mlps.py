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
        ConfigError: `pseudo_masks.negative` is none of the classes, the segmenter weighs another
            number of layers than the classifier has, or settings do not go together.
    """
    runtime, layers = config.runtime, config.classifier.net.layers
    starts = {"classifier": config.classifier.net}
    if len(config.segmenter.mask_weights) != len(layers):
        raise ConfigError(
            f"segmenter.mask_weights = {list(config.segmenter.mask_weights)}",
            expected=f"one weight for each of the layers {', '.join(layers)}",
            remedy="Give as many weights as layers; 0 leaves a layer out",
        )
    if config.scores.gradient != "mean" and config.classifier.net.layer_heads:
        raise ConfigError(
            f"scores.gradient = {config.scores.gradient!r} with classifier.net.layer_heads",
            expected="gradient: mean; layers with heads of their own need no gradient",
            remedy="Leave one of the two out",
        )
    if config.segmenter.loss == "fifth-logit":
        _require_one_white(config)
    return [
        frames_stage(config.frames),
        classifier_stage(config.classifier, runtime, AttentiveLook(config.classifier)),
        scores_stage(config.scores, runtime),
        pseudo_mask_stage(config.pseudo_masks, config.scores.reading, classes, runtime=runtime),
        segmenter_stage(config.segmenter, runtime, masks="pseudo-masks", starts=starts),
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


def _require_one_white(config: Config) -> None:
    """Refuse what lets the masks of a frame ignore different pixels, or the loss leaves out.

    Raises:
        ConfigError: a pixel that one layer alone ignores would cost a hundred.
    """
    own = {
        "scores.reading": (config.scores.reading, "joint"),
        "pseudo_masks.threshold": (config.pseudo_masks.threshold, 0),
        "pseudo_masks.min_area": (config.pseudo_masks.min_area, 0),
        "segmenter.bootstrap": (config.segmenter.bootstrap, 0),
    }
    for name, (value, needed) in own.items():
        if value != needed:
            raise ConfigError(
                f"segmenter.loss = 'fifth-logit' with {name} = {value!r}",
                expected=f"{name}: {needed}; that loss needs layers that ignore the same pixels",
                remedy=f"Set {name}={needed}, or segmenter.loss=ignore",
            )
