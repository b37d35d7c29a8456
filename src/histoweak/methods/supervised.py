"""Upper bound: the segmenter trained on the true masks of the training split.

    patches + masks -> frames-with-masks -> segmenter

It reads what weak supervision may not; its figures say how much the missing outlines cost.
"""

from collections.abc import Sequence

from histoweak.classes import ClassSet
from histoweak.methods.config import MethodConfig
from histoweak.pipeline import Stage
from histoweak.stages.evaluation import evaluation_stage
from histoweak.stages.frames import FramesConfig, frames_stage
from histoweak.stages.segmenter import SegmenterConfig, segmenter_stage
from histoweak.training.selection import selection_of


class Config(MethodConfig):
    """All settings of the method."""

    frames: FramesConfig = FramesConfig()
    segmenter: SegmenterConfig = SegmenterConfig()


def build(config: Config, classes: ClassSet) -> Sequence[Stage]:
    """Return the stages in order."""
    return [
        frames_stage(config.frames, with_masks=True),
        segmenter_stage(config.segmenter, config.runtime, masks="frames-with-masks", starts={}),
        evaluation_stage(
            config.evaluation,
            config.runtime,
            segmenters=["segmenter"],
            cam=None,
            selection=selection_of(config),
        ),
    ]
