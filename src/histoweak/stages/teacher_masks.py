"""Stage `teacher-masks`: one round of self-training, the segmenter as its own teacher.

The trained segmenter labels the training frames anew; patch labels still decide which classes a
pixel may carry, and pixels it is unsure of are ignored.
"""

from functools import partial
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydantic import Field

from histoweak.classes import IGNORE_INDEX
from histoweak.config import StrictConfig
from histoweak.data.frames import FrameStore
from histoweak.errors import ConfigError
from histoweak.export.png import write_index_png
from histoweak.inference.model import load_model
from histoweak.inference.tta import Tta
from histoweak.pipeline import Stage, StageContext
from histoweak.refine.threshold import among_allowed, posterior_mask
from histoweak.refine.white import WhiteConfig, white_mask
from histoweak.stages.pseudo_masks import allowed_classes, mask_file
from histoweak.training.config import RuntimeConfig

Mask = npt.NDArray[np.uint8]


class TeacherConfig(StrictConfig):
    """How the teacher's predictions become masks.

    `threshold` is the posterior that a pixel needs. `combine` is `teacher` (its word alone) or
    `agree` (ignored where the first pseudo-mask says otherwise).
    """

    threshold: float = Field(0.70, gt=0, le=1)
    combine: Literal["teacher", "agree"] = "teacher"
    tta: Tta = "d4"
    tile: int = Field(512, ge=32)
    white: WhiteConfig | None = WhiteConfig()


def teacher_stage(
    config: TeacherConfig, runtime: RuntimeConfig, *, first: str | None = "pseudo-masks"
) -> Stage:
    """Make the stage; its artefact holds one index PNG per frame.

    Args:
        config: its settings.
        runtime: device.
        first: the stage whose masks the teacher has learned from; None where it has learned from
            none, so that there is nothing to agree with.

    Raises:
        ConfigError: `combine` is `agree` without first masks.
    """
    if first is None and config.combine == "agree":
        raise ConfigError(
            "combine=agree without masks to agree with",
            where="teacher",
            expected="combine=teacher",
            remedy="The teacher of this method has learned from no pseudo-masks",
        )
    inputs = ("frames", *([first] if first else []), "segmenter")
    return Stage("teacher-masks", config, inputs, partial(_run, config, runtime, first))


def _run(
    config: TeacherConfig, runtime: RuntimeConfig, first: str | None, context: StageContext
) -> None:
    store = FrameStore(context.inputs["frames"])
    classes = context.manifest.classes
    model = load_model(context.inputs["segmenter"] / "model", device=runtime.torch_device())
    frames = context.progress.track(enumerate(store.frames), len(store), "asking the teacher")
    for index, frame in frames:
        probs = model.probs(store.image(index), tta=config.tta, tile=config.tile)
        no_gate = np.zeros((len(frame.boxes), len(classes)), np.float32)
        allowed = allowed_classes(frame, no_gate, None, len(classes))
        mask = teach(probs, allowed, config.threshold)
        if first is not None and config.combine == "agree":
            known = np.asarray(Image.open(context.inputs[first] / mask_file(index)))
            mask[(known != IGNORE_INDEX) & (known != mask)] = IGNORE_INDEX
        if config.white is not None:
            white = white_mask(store.image(index), config.white)
            mask[white] = classes.white_index
        write_index_png(context.out / mask_file(index), mask, classes)


def teach(probs: npt.NDArray[np.float32], allowed: npt.NDArray[np.bool_], threshold: float) -> Mask:
    """Mask of the classes that the teacher is sure of among those that labels allow.

    Args:
        probs: (K, H, W), sums to 1 over K.
        allowed: (K, H, W) bool; pixels that no patch speaks for are ignored.
        threshold: posterior that a pixel needs, after the classes not allowed are taken out.
    """
    mask = posterior_mask(among_allowed(probs, allowed), threshold)
    mask[~allowed.any(axis=0)] = IGNORE_INDEX
    return mask
