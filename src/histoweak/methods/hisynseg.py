"""HisynSeg: synthesise masked training images from single-class patches.

    patches + labels -> frames -> [authenticity ->] segmenter
                                  [-> teacher-masks -> segmenter-2]

Fang et al., "HisynSeg: weakly-supervised histopathological image segmentation via image-mixing
synthesis and consistency regularization" (IEEE TMI 2025). A patch whose label names one class has a
known mask. Such patches are mixed into images with exact masks, from which DeepLabV3+ learns as if
it were fully supervised; real patches of several classes add a classification loss on a CAM and
the agreement of decoder and CAM. No mask of the training split is read anywhere.
"""

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field, model_validator

from histoweak.classes import ClassSet
from histoweak.config import StrictConfig
from histoweak.errors import ConfigError
from histoweak.methods.config import MethodConfig
from histoweak.methods.rounds import with_second_round
from histoweak.pipeline import Stage
from histoweak.stages.authenticity import AuthenticityConfig, authenticity_stage
from histoweak.stages.evaluation import evaluation_stage
from histoweak.stages.frames import FramesConfig, frames_stage
from histoweak.stages.synthetic_segmenter import (
    SyntheticSegmenterConfig,
    synthetic_segmenter_stage,
)
from histoweak.stages.teacher_masks import TeacherConfig, teacher_stage
from histoweak.synthesis.both import Kind
from histoweak.synthesis.config import SynthesisConfig
from histoweak.training.selection import selection_of


class RoundTwoConfig(StrictConfig):
    """One more round: the segmenter labels the training frames, and a second one learns them.

    The second one learns from those masks, around patches of every kind, and from synthetic
    images; it has neither consistency nor evidence losses. `start` is what it begins with:
    `weights` as its `net.weights` says, or `segmenter`, what the first one has learned but for its
    CAM. What `segmenter` leaves open here is as in the first round, and so is `teacher.white`.
    """

    teacher: TeacherConfig = TeacherConfig()
    segmenter: SyntheticSegmenterConfig = SyntheticSegmenterConfig()
    start: Literal["weights", "segmenter"] = "weights"


class Config(MethodConfig):
    """All settings of the method; `authenticity` (the filter) and `round_two` are null for none.

    `filter_vertices` is the number of vertices of the blobs that the filter learns from, null for
    as many as those have that it judges.
    """

    frames: FramesConfig = FramesConfig()
    synthesis: SynthesisConfig = SynthesisConfig()
    authenticity: AuthenticityConfig | None = AuthenticityConfig()
    filter_vertices: int | None = Field(None, ge=3, le=64)
    segmenter: SyntheticSegmenterConfig = SyntheticSegmenterConfig()
    round_two: RoundTwoConfig | None = None

    @model_validator(mode="before")
    @classmethod
    def _second_as_first(cls, values: Any) -> Any:
        return with_second_round(values, "round_two")


def build(config: Config, classes: ClassSet) -> Sequence[Stage]:
    """Return the stages in order.

    Raises:
        ConfigError: settings of the second round contradict each other or the filter, or pairs of
            classes name none of them.
    """
    require_classes(config.synthesis, classes)
    runtime, made = config.runtime, config.synthesis
    judges = filter_stages(config)
    judged = list(judges)
    stages = [frames_stage(config.frames), *judges.values()]
    stages.append(synthetic_segmenter_stage(config.segmenter, made, runtime, judged=judged))
    if config.round_two is not None:
        round_two = config.round_two
        require_alike(config.segmenter, round_two)
        stages += [
            teacher_stage(round_two.teacher, runtime, first=None),
            synthetic_segmenter_stage(
                round_two.segmenter,
                made,
                runtime,
                judged=judged,
                masks="teacher-masks",
                start=None if round_two.start == "weights" else round_two.start,
                name="segmenter-2",
            ),
        ]
    return [
        *stages,
        evaluation_stage(
            config.evaluation,
            runtime,
            segmenters=[s.name for s in stages if s.name.startswith("segmenter")],
            cam=None,
            selection=selection_of(config),
        ),
    ]


def require_alike(first: SyntheticSegmenterConfig, round_two: RoundTwoConfig) -> None:
    """Raise unless a second round that goes on with the first network has one like it.

    Raises:
        ConfigError: the networks differ.
    """
    one, two = first.net.model_dump(), round_two.segmenter.net.model_dump()
    differ = [key for key in one if one[key] != two[key]]
    if round_two.start == "segmenter" and differ:
        raise ConfigError(
            f"round_two.start=segmenter, but round_two.segmenter.net differs in {differ}",
            expected="the settings of segmenter.net",
            remedy="Make them equal, or set round_two.start=weights",
        )


def require_classes(synthesis: SynthesisConfig, classes: ClassSet) -> None:
    """Raise if pairs of classes name one that the data set has not.

    Raises:
        ConfigError: naming the pairs.
    """
    wrong = [pair for pair in synthesis.bezier.pairs or () if max(pair) >= len(classes)]
    if wrong and synthesis.mosaic_share < 1:
        known = ", ".join(f"{i} {name}" for i, name in enumerate(classes.names))
        raise ConfigError(
            f"{wrong} in a data set of {len(classes)} classes",
            where="synthesis.bezier.pairs",
            expected=f"(background, foreground) among {known}",
            remedy="Correct the pairs, or set them to null for any two classes",
        )


def filter_stages(config: Config) -> dict[Kind, Stage]:
    """Stages of the discriminators, by the kind of image that each judges.

    Raises:
        ConfigError: the second round has images of another size than the first, which the
            discriminators learn from.
    """
    if config.authenticity is None:
        return {}
    rule, size = config.segmenter.filter, config.segmenter.crop
    if config.round_two is not None and config.round_two.segmenter.crop != size:
        raise ConfigError(
            f"round_two.segmenter.crop={config.round_two.segmenter.crop}",
            expected=f"{size}, as segmenter.crop: both rounds share the filter",
            remedy="Make them equal, or set authenticity=null",
        )
    made = config.synthesis
    if config.filter_vertices is not None:
        blobs = made.bezier.model_copy(update={"vertices": config.filter_vertices})
        made = made.model_copy(update={"bezier": blobs})
    shares: dict[Kind, float] = {"mosaic": made.mosaic_share, "bezier": 1 - made.mosaic_share}
    return {
        kind: authenticity_stage(
            config.authenticity, made, config.runtime, kind, size=size, threshold=rule.threshold
        )
        for kind, share in shares.items()
        if share > 0
    }
