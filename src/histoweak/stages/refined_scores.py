"""Stage `refined-scores`: what the refinement network sees in the training frames."""

import json
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from histoweak.data.frames import FrameStore
from histoweak.data.rescale import rescaled_size
from histoweak.inference.model import load_model
from histoweak.pipeline import Stage, StageContext
from histoweak.stages.rung import Predict, RungMaker
from histoweak.stages.scores import (
    Reading,
    ScoresConfig,
    frame_maps,
    score_file,
    shown_views,
    steady_maps,
    write_scores,
)
from histoweak.stages.view import View, strongest_class
from histoweak.training.config import RuntimeConfig

UInt8 = npt.NDArray[np.uint8]
Float = npt.NDArray[np.float32]


def refined_scores_stage(config: ScoresConfig, runtime: RuntimeConfig) -> Stage:
    """Make the stage; its artefact has the form of that of `scores`.

    Class probabilities of patches are those of the classifier: the network knows pixels alone.
    """
    inputs = ("frames", "scores", "refiner")
    return Stage("refined-scores", config, inputs, partial(_run, config, runtime))


def _run(config: ScoresConfig, runtime: RuntimeConfig, context: StageContext) -> None:
    store = FrameStore(context.inputs["frames"])
    model = load_model(context.inputs["refiner"] / "model", device=runtime.torch_device())
    found = frame_maps(model, store, config)
    frames = context.progress.track(enumerate(found), len(store), "refining scores")
    for index, (_, maps) in frames:
        write_scores(context.out / score_file(index), regressed_scores(maps, config.reading))
    shutil.copyfile(context.inputs["scores"] / "patch_probs.csv", context.out / "patch_probs.csv")
    (context.out / "scores.json").write_text(json.dumps({"stride": model.stride}))


def regressed_scores(maps: Float, reading: Reading) -> Float:
    """Maps (K, h, w) of the refinement network to scores (K, h, w) in [0, 1].

    They are scores already, since they were trained to be; as `posterior` they are divided by
    their sum. Where nothing is positive, all classes are equally likely.
    """
    scores = maps.clip(0, 1)
    if reading != "posterior":
        return scores
    total = scores.sum(axis=0)
    shares: Float = np.where(total > 0, scores / np.where(total > 0, total, 1), 1 / len(scores))
    return shares.astype(np.float32)


def refinement_rung(config: ScoresConfig, tile: int) -> RungMaker:
    """The rung of the refinement network: its strongest class at each pixel.

    Args:
        config: orientations and magnifications that an image is seen in.
        tile: side of the tiles in pixels at the scale of the model.
    """

    def make(folders: Mapping[str, Path], device: str) -> Predict:
        model = load_model(folders["refiner"] / "model", device=device)

        def predict(
            image: npt.NDArray[np.uint8], mpp: float | None, view: View | None
        ) -> npt.NDArray[np.uint8]:
            size = (image.shape[0], image.shape[1])
            scale = 1.0 if mpp is None or model.mpp is None else mpp / model.mpp
            maps = steady_maps(model, image, mpp, config, tile)
            return strongest_class(maps, model.stride, rescaled_size(size, scale), size)

        return predict

    return RungMaker("refinement network", shown_views(config), ("refiner",), make, setting=config)
