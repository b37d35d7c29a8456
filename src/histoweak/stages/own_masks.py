"""Stage `pseudo-masks` of methods whose classifier predicts by itself: its prediction, and labels.

On training patches the labels say which classes there are; where the adjusted maps give none of
them anything, or too little, the pixel is ignored.
"""

from functools import partial

import numpy as np
import numpy.typing as npt
from pydantic import Field

from histoweak.classes import IGNORE_INDEX
from histoweak.config import StrictConfig
from histoweak.data.frames import FrameStore
from histoweak.export.png import write_index_png
from histoweak.inference.model import load_model
from histoweak.inference.post import class_indices, may_appear
from histoweak.pipeline import Stage, StageContext
from histoweak.stages.pseudo_masks import allowed_classes, mask_file
from histoweak.training.config import RuntimeConfig


class OwnMasksConfig(StrictConfig):
    """How a classifier's prediction becomes training masks.

    A pixel takes its strongest class if that has at least `threshold` of what the classes that
    labels allow, background and other tissue have together.
    """

    threshold: float = Field(0.5, ge=0, le=1)


def own_masks_stage(config: OwnMasksConfig, runtime: RuntimeConfig) -> Stage:
    """Make the stage; its artefact holds one index PNG per frame."""
    inputs = ("frames", "prediction")
    return Stage("pseudo-masks", config, inputs, partial(_run, config, runtime), version=2)


def _run(config: OwnMasksConfig, runtime: RuntimeConfig, context: StageContext) -> None:
    store = FrameStore(context.inputs["frames"])
    classes = context.manifest.classes
    model = load_model(context.inputs["prediction"] / "model", device=runtime.torch_device())
    if model.post is None:
        raise RuntimeError("the stage `prediction` left a model without post-processing")
    values = class_indices(model.post, classes)
    frames = context.progress.track(enumerate(store.frames), len(store), "making pseudo-masks")
    for index, frame in frames:
        adjusted = model.adjusted(store.image(index))
        no_gate = np.zeros((len(frame.boxes), len(classes)), np.float32)
        allowed = allowed_classes(frame, no_gate, None, len(classes))
        mask = own_mask(adjusted, allowed, values, config.threshold)
        write_index_png(context.out / mask_file(index), mask, classes)


def own_mask(
    adjusted: npt.NDArray[np.float32],
    allowed: npt.NDArray[np.bool_],
    values: npt.NDArray[np.uint8],
    threshold: float,
) -> npt.NDArray[np.uint8]:
    """Mask of one frame.

    Args:
        adjusted: (K + 2, H, W), from `TissueModel.adjusted`.
        allowed: (K, H, W) bool, from `allowed_classes`.
        values: (K + 2,) mask value of each map.
        threshold: share that the strongest map needs.
    """
    possible = np.where(may_appear(allowed, values), adjusted, 0)
    total, strongest = possible.sum(axis=0), possible.max(axis=0)
    sure = (total > 0) & (strongest >= threshold * total)
    mask = np.where(sure, values[possible.argmax(axis=0)], IGNORE_INDEX).astype(np.uint8)
    mask[~allowed.any(axis=0)] = IGNORE_INDEX
    return mask
