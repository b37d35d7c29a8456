"""The rung "walk" of the ladder: what the random walk makes of held-out images."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from histoweak.classes import ClassSet
from histoweak.inference.forward import enlarged_bands
from histoweak.inference.model import load_model
from histoweak.inference.resize import index_mask
from histoweak.stages.rung import Predict, RungMaker
from histoweak.stages.view import View
from histoweak.stages.walk import boundary_map, to_grid, walk
from histoweak.stages.walk_config import WalkConfig

UInt8 = npt.NDArray[np.uint8]


def walk_rung(config: WalkConfig, classes: ClassSet, threshold: float | None) -> RungMaker:
    """The rung "walk" of the ladder: the walked scores of held-out images, without their labels.

    Args:
        config: the walk.
        classes: the classes.
        threshold: score that the class `config.background` has everywhere; with it, only classes
            that the classifier names take part, as labels decide where they are known.
    """
    constant = None if config.background is None else threshold
    make = partial(_make_rung, config, classes, constant)
    return RungMaker("walk", config.tta, ("classifier", "boundary"), make, config)


def _make_rung(
    config: WalkConfig,
    classes: ClassSet,
    constant: float | None,
    folders: Mapping[str, Path],
    device: str,
) -> Predict:
    model = load_model(folders["boundary"] / "model", device=device)

    def predict(image: UInt8, mpp: float | None, view: View | None) -> UInt8:
        if view is None:
            raise ValueError("a walk needs the scores of a classifier")
        boundary = boundary_map(model, image, mpp, config)
        scores = to_grid(view.scores, view.stride / model.stride, boundary)
        if constant is not None:
            scores = scores * view.called[:, None, None]
        walked = walk(scores, boundary, config, classes, device=device)
        if constant is not None:
            walked[classes.names.index(str(config.background))] = constant
        bands = enlarged_bands(torch.from_numpy(walked), model.stride, view.working)
        return index_mask(bands, view.working, view.size)

    return predict
