"""Stage `prediction`: fix how a classifier's maps become its own prediction.

What the data decide is found here, from labels alone: the probability from which on a class counts
as present, the scanner's white, and the sizes that the classifier was trained at. The artefact is
the classifier with all of that in its description, so that it predicts without a segmenter.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from histoweak.classes import ClassSet
from histoweak.config import StrictConfig
from histoweak.data.frames import FrameStore
from histoweak.inference.model import TissueModel, load_model
from histoweak.inference.post_config import PostConfig, SavedPost
from histoweak.metrics.operating_point import balanced_thresholds
from histoweak.pipeline import Stage, StageContext
from histoweak.refine.adjust import AdjustConfig, white_level
from histoweak.stages.classifier import MULTIPLE, usual_window
from histoweak.stages.evaluation import Predict, RungMaker
from histoweak.stages.labels import label_probs
from histoweak.stages.model_folder import keep_model
from histoweak.stages.scores import window_probs
from histoweak.training.config import RuntimeConfig

WHITE_SHARE = 0.001
"""Share of the training pixels that is taken to be as bright as the scanner's white."""


class PredictionConfig(PostConfig):
    """The prediction of a classifier without a segmenter."""


class PredictionSetting(StrictConfig):
    """All that decides the prediction: the settings, and the crop of the classifier."""

    post: PredictionConfig
    crop: int | None


def prediction_stage(
    config: PredictionConfig, runtime: RuntimeConfig, classes: ClassSet, *, crop: int | None
) -> Stage:
    """Make the stage; its artefact holds `model/` and `prediction.json`.

    Args:
        config: its settings.
        runtime: device.
        classes: the K classes.
        crop: that of the classifier.

    Raises:
        ConfigError: the settings name a class that is none; better said before training.
    """
    config.require_names(classes)
    setting = PredictionSetting(post=config, crop=crop)
    run = partial(_run, setting, runtime)
    return Stage("prediction", setting, ("frames", "classifier"), run)


def prediction_rungs(config: PredictionConfig, tile: int) -> list[RungMaker]:
    """The rungs that the prediction adds to the ladder.

    Args:
        config: its settings.
        tile: side in pixels of the blocks that are adjusted at once.
    """

    def maker(name: str, *, refined: bool) -> RungMaker:
        def make(folders: Mapping[str, Path], device: str) -> Predict:
            model = load_model(folders["prediction"] / "model", device=device)
            if model.post is not None and not refined:
                model = replace(model, post=model.post.model_copy(update={"refine": ()}))
            return lambda image, mpp, view: model.predict(image, mpp, tile=tile).array

        return RungMaker(name, config.tta, ("prediction",), make)

    rungs = [maker("adjusted", refined=False)]
    if config.refine:
        kinds = ", ".join(refiner.kind for refiner in config.refine)
        rungs.append(maker(f"adjusted, {kinds}", refined=True))
    return rungs


def _run(setting: PredictionSetting, runtime: RuntimeConfig, context: StageContext) -> None:
    store = FrameStore(context.inputs["frames"])
    model = load_model(context.inputs["classifier"] / "model", device=runtime.torch_device())
    post = setting.post
    split, thresholds = _thresholds(model, store, context)
    saved = SavedPost(
        **post.model_dump(exclude={"tile", "window", "adjust"}),
        tile=post.tile or setting.crop or usual_window(store, MULTIPLE),
        window=post.window or usual_window(store, model.stride),
        adjust=_with_level(post.adjust, store),
        thresholds=thresholds,
    )
    keep_model(replace(model, post=saved), context.out)
    named = dict(zip(context.manifest.classes.names, thresholds, strict=True))
    found = {"split": split, "thresholds": named, "post": saved.model_dump(mode="json")}
    (context.out / "prediction.json").write_text(json.dumps(found, indent=2))


def _thresholds(
    model: TissueModel, store: FrameStore, context: StageContext
) -> tuple[str, tuple[float, ...]]:
    """Threshold of each class, from the labels of the validation split or, without any, train."""
    rows = [record for record in context.manifest.split("val") if record.labels]
    if rows:
        shown = context.progress.track(rows, len(rows), "finding thresholds")
        probs, labels = label_probs(model, shown)
    else:
        probs, labels = _training_windows(model, store, context)
    thresholds = balanced_thresholds(probs, labels).round(6)
    return "val" if rows else "train", tuple(float(t) for t in thresholds)


def _training_windows(
    model: TissueModel, store: FrameStore, context: StageContext
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Probabilities and labels (N, K) of the labelled windows, each seen in its surroundings."""
    probs, labels = [], []
    frames = context.progress.track(enumerate(store.frames), len(store), "finding thresholds")
    for index, frame in frames:
        image = store.image(index)
        found = window_probs(model, model.maps(image), frame, image)
        for own, label in zip(found, frame.labels, strict=True):
            if label:
                probs.append(own)
                labels.append(label)
    return np.asarray(probs), np.asarray(labels, np.int64)


def _with_level(adjust: AdjustConfig, store: FrameStore) -> AdjustConfig:
    """The adjustments with a level of white; null is found in the training images."""
    if adjust.background is None or adjust.background.level is not None:
        return adjust
    counts = np.zeros(256, np.int64)
    for index in range(len(store)):
        brightness = store.image(index).mean(axis=2, dtype=np.float32).astype(np.uint8)
        counts += np.bincount(brightness.ravel(), minlength=256)
    brighter = counts[::-1].cumsum()
    brightest = 255 - int(np.searchsorted(brighter, max(1, WHITE_SHARE * brighter[-1])))
    level = white_level(brightest)
    background = adjust.background.model_copy(update={"level": level})
    return adjust.model_copy(update={"background": background})
