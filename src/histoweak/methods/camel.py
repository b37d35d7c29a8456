"""CAMEL: combined multiple instance learning, label enrichment, segmentation.

    patches + labels -> frames -+-> cmil-max -+-> instances -> classifier -> scores (enrichment)
                                +-> cmil-min -+                     -> pseudo-masks -> segmenter
    [before it the same on a coarser lattice -> bags, whose instances are bags beside the patches]

Xu et al., "CAMEL: A weakly supervised learning framework for histopathology image segmentation"
(ICCV 2019). Two classifiers of small squares learn from the labels of the patches they lie in, by
opposite choices of the square that answers for the label. Squares on which they agree with the
label train a third one, which labels all squares of all patches; DeepLabV3+ learns those labels.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Self

from pydantic import Field, model_validator

from histoweak.classes import ClassSet
from histoweak.errors import ConfigError
from histoweak.methods.config import MethodConfig
from histoweak.methods.rounds import laid_under
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

    As for other pseudo-masks, but every instance of tissue gets the most probable class, however
    many there are: the lattice is coarse enough without holes.
    """

    threshold: float = Field(0.0, ge=0, le=1)
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

    @model_validator(mode="before")
    @classmethod
    def _coarse_as_fine(cls, values: Any) -> Any:
        return laid_under(values, "cmil", "cascade", _but_for_its_lattice)

    @model_validator(mode="after")
    def _coarser(self) -> Self:
        if self.cascade is not None:
            coarse, side = self.cascade.cmil.net.side, self.cmil.net.side
            if coarse < 2 * side or coarse % side:
                raise ValueError(
                    f"cascade.cmil.net.side = {coarse} is not two or more times "
                    f"cmil.net.side = {side}, so coarse instances could not be cut into finer ones"
                )
        return self


def _but_for_its_lattice(fine: Mapping[str, Any]) -> dict[str, Any]:
    """What the coarse round begins with: the settings of the last one, without side and strides."""
    net = fine.get("net", {})
    if isinstance(net, Mapping):
        fine = {**fine, "net": {k: v for k, v in net.items() if k not in ("side", "strides")}}
    return {"cmil": fine}


def build(config: Config, classes: ClassSet) -> Sequence[Stage]:
    """Return the stages in order.

    Raises:
        ConfigError: `pseudo_masks.negative` or `cmil.bags.negative` is none of the classes.
    """
    runtime, negative = config.runtime, config.cmil.bags.negative
    cmil = _with_negative(config.cmil, negative, classes)
    starts = {"classifier": cmil.net}
    stages = [frames_stage(config.frames)]
    last = Round()
    if config.cascade is not None:
        coarse, last = Round("coarse"), Round(bags=("bags",))
        stages += _round(config, _with_negative(config.cascade.cmil, negative, classes), coarse)
        stages += [bags_stage(config.cascade.bags, runtime, coarse)]
    return [
        *stages,
        *_round(config, cmil, last),
        scores_stage(config.scores, runtime),
        pseudo_mask_stage(
            config.pseudo_masks,
            config.scores.reading,
            classes,
            runtime=runtime,
            everywhere=negative,
        ),
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


def _with_negative(cmil: CmilConfig, name: str | None, classes: ClassSet) -> CmilConfig:
    """Settings of a round whose bags and network know the class without answers of its own."""
    own = (cmil.bags.negative, cmil.net.negative)
    if own not in ((None, None), (name, None)):
        raise ConfigError(
            f"bags.negative = {own[0]!r} and net.negative = {own[1]!r} in a round of instances",
            expected=f"the name in cmil.bags.negative, which is {name!r}, for all rounds",
            remedy="Set cmil.bags.negative alone",
        )
    if name is None:
        return cmil
    if name not in classes.names or len(classes) == 1:
        raise ConfigError(
            f"cmil.bags.negative = {name!r}",
            expected=f"one of several classes; those of the data set are {list(classes.names)}",
            remedy="Name the class that holds whatever the others do not, or set it to null",
        )
    bags = cmil.bags.model_copy(update={"negative": name})
    net = cmil.net.model_copy(update={"negative": classes.names.index(name)})
    return cmil.model_copy(update={"bags": bags, "net": net})


def _round(config: Config, cmil: CmilConfig, round_: Round) -> list[Stage]:
    """Two classifiers, the instances on which they agree, and the classifier of those."""
    runtime = config.runtime
    return [
        cmil_stage(cmil, runtime, "max-max", round_),
        cmil_stage(cmil, runtime, "max-min", round_),
        instances_stage(config.instances, cmil.bags, runtime, round_),
        instance_classifier_stage(config.classifier, cmil.net, cmil.bags, runtime, round_),
    ]
