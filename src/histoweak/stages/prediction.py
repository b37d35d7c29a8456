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

from histoweak.classes import ClassSet
from histoweak.config import StrictConfig
from histoweak.data.frames import FrameStore, build_frames
from histoweak.data.images import probe
from histoweak.data.manifest import Record
from histoweak.data.skips import Skips
from histoweak.errors import ImageError
from histoweak.inference.model import TissueModel, load_model
from histoweak.inference.post_config import PostConfig, SavedPost
from histoweak.metrics.operating_point import balanced_thresholds
from histoweak.pipeline import Stage, StageContext
from histoweak.refine.adjust import AdjustConfig, white_level
from histoweak.stages.classifier import MULTIPLE, usual_window
from histoweak.stages.model_folder import keep_model
from histoweak.stages.rung import Predict, RungMaker
from histoweak.stages.scores import window_probs
from histoweak.training.config import RuntimeConfig

WHITE_SHARE = 0.001
"""Share of the training pixels that is taken to be as bright as the scanner's white."""


class PredictionConfig(PostConfig):
    """The prediction of a classifier without a segmenter."""


class PredictionSetting(StrictConfig):
    """All that decides the prediction: the settings, the crop of the classifier, how frames are."""

    post: PredictionConfig
    crop: int | None
    assemble: bool


def prediction_stage(
    config: PredictionConfig,
    runtime: RuntimeConfig,
    classes: ClassSet,
    *,
    crop: int | None,
    assemble: bool,
) -> Stage:
    """Make the stage; its artefact holds `model/` and `prediction.json`.

    Args:
        config: its settings.
        runtime: device.
        classes: the K classes.
        crop: that of the classifier.
        assemble: that of the frames; patches of the validation split are seen in the same way.

    Raises:
        ConfigError: the settings name a class that is none; better said before training.
    """
    config.require_names(classes)
    setting = PredictionSetting(post=config, crop=crop, assemble=assemble)
    run = partial(_run, setting, runtime)
    return Stage("prediction", setting, ("frames", "classifier"), run, version=3)


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
    usual = usual_window(store, model.stride)
    window = post.window or usual
    held_out = _held_out(model, max(window, usual), setting.assemble, context)
    thresholds = _thresholds(model, store if held_out is None else held_out, context)
    saved = SavedPost(
        **post.model_dump(exclude={"tile", "window", "adjust"}),
        tile=post.tile or setting.crop or usual_window(store, MULTIPLE),
        window=window,
        adjust=_with_level(post.adjust, store),
        thresholds=thresholds,
    )
    keep_model(replace(model, post=saved), context.out)
    named = dict(zip(context.manifest.classes.names, thresholds, strict=True))
    split = "train" if held_out is None else "val"
    found = {"split": split, "thresholds": named, "post": saved.model_dump(mode="json")}
    (context.out / "prediction.json").write_text(json.dumps(found, indent=2))


def _held_out(
    model: TissueModel, largest: int, assemble: bool, context: StageContext
) -> FrameStore | None:
    """Frames of the labelled patches of the validation split; None where it has none.

    Whole images are left out: windows are judged one by one, and the label of an image says
    little about any one of them.

    Args:
        model: the classifier.
        largest: longest side of a patch, in pixels at the scale of the model.
        assemble: whether patches are laid back on their source.
        context: of the stage.
    """
    rows = [record for record in context.manifest.split("val") if record.labels]
    if model.mpp is not None:  # a patch of unknown scale is taken to be at that of the model
        rows = [replace(record, mpp=record.mpp or model.mpp) for record in rows]
    patches = [record for record in rows if 0 < _side(record, model.mpp) <= largest + 0.5]
    if len(patches) < len(rows):
        context.progress.say(
            f"thresholds: {len(rows) - len(patches)} of {len(rows)} validation images are larger "
            f"than the {largest} px of a window, or damaged, and left out"
        )
    if not patches:
        return None
    folder = context.scratch / "val"
    folder.mkdir(exist_ok=True)
    return build_frames(
        patches,
        len(context.manifest.classes),
        folder,
        mpp=model.mpp,
        assemble=assemble,
        with_masks=False,
        skips=Skips(len(patches), limit=1.0),
        progress=context.progress,
    )


def _side(record: Record, mpp: float | None) -> float:
    """Longest side of an image at a scale, in pixels; 0 for one that cannot be opened."""
    try:
        size = probe(record.image).size
    except ImageError:
        return 0.0
    return max(size) * (1.0 if mpp is None or record.mpp is None else record.mpp / mpp)


def _thresholds(model: TissueModel, store: FrameStore, context: StageContext) -> tuple[float, ...]:
    """Threshold of each class, from the labelled windows of frames, each in its surroundings."""
    probs, labels = [], []
    frames = context.progress.track(enumerate(store.frames), len(store), "finding thresholds")
    for index, frame in frames:
        image = store.image(index)
        found = window_probs(model, model.maps(image), frame, image)
        for own, label in zip(found, frame.labels, strict=True):
            if label:
                probs.append(own)
                labels.append(label)
    thresholds = balanced_thresholds(np.asarray(probs), np.asarray(labels, np.int64))
    return tuple(float(t) for t in thresholds)


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
