"""Stage `scores`: class scores per pixel of every training frame, from the classifier's maps."""

import csv
import json
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import tifffile
import torch
from pydantic import Field

from histoweak.cams.cam import joint_scores, min_max_scores, peak_scores, posterior_scores
from histoweak.cams.gradcam import Gradient
from histoweak.config import StrictConfig
from histoweak.data.frames import Frame, FrameStore
from histoweak.inference.config import InferenceConfig, Options, views
from histoweak.inference.layers import several_layer_maps
from histoweak.inference.model import TissueModel, load_model
from histoweak.inference.multiscale import ScalesConfig, scaled_maps
from histoweak.inference.tta import Tta
from histoweak.nets.pooled import PooledNetwork
from histoweak.objectives.pooling import box_max, box_mean
from histoweak.pipeline import Stage, StageContext
from histoweak.training.config import RuntimeConfig

Reading = Literal["min-max", "posterior", "peak", "joint"]
TOP = 65535
ONE_PASS = 1 << 20
"""Pixels of a frame that a network sees in one pass."""

Maps = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]


class ScoresConfig(StrictConfig):
    """How class maps become scores.

    `reading` is `posterior` (softmax over the classes, absolute), `min-max` (each class scaled by
    its own range in the image), `peak` (each class divided by its own maximum) or `joint` (all
    classes scaled by one range). Maps are averaged over `tta` orientations, and combined over the
    magnifications of `scales`, null for one.
    """

    reading: Reading = "posterior"
    tta: Tta = "d4"
    tile: int = Field(512, ge=32)
    scales: ScalesConfig | None = None


class LayerScoresConfig(ScoresConfig):
    """How the class maps of several layers become scores.

    As in `ScoresConfig`, at one magnification; `gradient` is `mean` (Grad-CAM: one weight per
    channel and class) or `local` (each pixel weighs its features by its own gradient).
    """

    gradient: Gradient = "mean"
    scales: None = None


def scores_stage(config: ScoresConfig, runtime: RuntimeConfig) -> Stage:
    """Make the stage.

    Its artefact holds one 16-bit TIFF per frame, K pages per layer (shallow to deep) at the scale
    of the network's maps (65535 = 1.0), `patch_probs.csv` with the class probabilities of every
    patch, and `scores.json` with the pixels of the frame per pixel of the scores (`stride`).
    """
    return Stage("scores", config, ("frames", "classifier"), partial(_run, config, runtime))


def _run(config: ScoresConfig, runtime: RuntimeConfig, context: StageContext) -> None:
    store = FrameStore(context.inputs["frames"])
    model = load_model(context.inputs["classifier"] / "model", device=runtime.torch_device())
    rows: list[list[str | int | float]] = []
    found = zip(store.frames, frame_maps(model, store, config), strict=True)
    frames = context.progress.track(enumerate(found), len(store), "scoring pixels")
    for index, (frame, (layers, maps)) in frames:
        scores = np.concatenate([to_scores(layer, config.reading) for layer in layers])
        write_scores(context.out / score_file(index), scores)
        for window, probs in enumerate(window_probs(model, maps, frame, store.image(index))):
            rows.append([index, window, *(round(float(p), 6) for p in probs)])
    (context.out / "scores.json").write_text(json.dumps({"stride": model.stride}))
    with (context.out / "patch_probs.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["frame", "window", *context.manifest.classes.names])
        writer.writerows(rows)


def frame_maps(model: TissueModel, store: FrameStore, config: ScoresConfig) -> Iterator[Maps]:
    """Class maps of every frame, in order; successive frames of one size share a pass.

    Yields:
        Those of the layers (M, K, h, w), shallow to deep, and those of the head (K, h, w).
    """
    passes = InferenceConfig(tta=config.tta, tile=config.tile)
    sizes = [(frame.height, frame.width) for frame in store.frames]
    for size, alike in groupby(range(len(store)), lambda index: sizes[index]):
        indices, most = list(alike), passes.at_once(*size)
        for first in range(0, len(indices), most):
            images = [store.image(index) for index in indices[first : first + most]]
            yield from maps_of(model, images, config)


def maps_of(
    model: TissueModel, images: Sequence[npt.NDArray[np.uint8]], config: ScoresConfig
) -> list[Maps]:
    """Class maps of images (H, W, 3) of one size, as `frame_maps` yields them."""
    options = Options(tta=config.tta, tile=config.tile)
    if isinstance(config, LayerScoresConfig):
        return several_layer_maps(model, images, config.gradient, **options)
    if config.scales is None:
        return [(maps[None], maps) for maps in model.several_maps(images, **options)]
    scaled = (steady_maps(model, image, None, config, config.tile) for image in images)
    return [(maps[None], maps) for maps in scaled]


def steady_maps(
    model: TissueModel,
    image: npt.NDArray[np.uint8],
    mpp: float | None,
    config: ScoresConfig,
    tile: int,
) -> npt.NDArray[np.float32]:
    """Class maps (K,h,w) of an image, combined over orientations and magnifications."""
    if config.scales is None:
        return model.maps(image, mpp, tta=config.tta, tile=tile)
    return scaled_maps(model, image, mpp, config.scales, tta=config.tta, tile=tile)


def shown_views(config: ScoresConfig) -> str:
    """Orientations and magnifications in words, for tables."""
    return views(config.tta, config.scales.factors if config.scales else (1.0,))


def to_scores(maps: npt.NDArray[np.float32], reading: Reading) -> npt.NDArray[np.float32]:
    """Class maps (K,h,w) to scores (K,h,w) in [0, 1]."""
    forms = {
        "posterior": posterior_scores,
        "min-max": min_max_scores,
        "peak": peak_scores,
        "joint": joint_scores,
    }
    result: npt.NDArray[np.float32] = forms[reading](torch.from_numpy(maps)[None])[0].numpy()
    return result


def window_probs(
    model: TissueModel,
    maps: npt.NDArray[np.float32],
    frame: Frame,
    image: npt.NDArray[np.uint8],
) -> npt.NDArray[np.float32]:
    """(N, K) class probabilities of the windows of a frame, from its maps.

    A network that pools other features than its maps looks at the image (H, W, 3) again: in one
    pass, or, where the frame is large, at one window after the other.
    """
    pooled = isinstance(model.network, PooledNetwork)
    if pooled and not model.network.pools_maps:
        if frame.height * frame.width <= ONE_PASS:
            return model.window_probs(image, np.asarray(frame.boxes, np.float32))
        places = [tuple(round(v) for v in box) for box in frame.boxes]
        return np.stack([model.patch_probs(image[y0:y1, x0:x1]) for x0, y0, x1, y1 in places])
    boxes = torch.tensor([(0.0, *box) for box in frame.boxes])
    pool = box_max if pooled and model.network.pooling == "max" else box_mean
    logits = pool(torch.from_numpy(maps)[None], boxes, (1 / model.stride, 1 / model.stride))
    probs: npt.NDArray[np.float32] = model.activate(logits).numpy()
    return probs


def score_file(index: int) -> str:
    """File name of one frame's scores."""
    return f"{index:06d}.tif"


def write_scores(path: Path, scores: npt.NDArray[np.float32]) -> None:
    """Write (N,h,w) scores in [0, 1] as a 16-bit TIFF of N pages."""
    pages = np.round(scores * TOP).astype(np.uint16)
    tifffile.imwrite(path, pages, photometric="minisblack", compression="zlib")


def read_scores(path: Path) -> npt.NDArray[np.float32]:
    """Read what `write_scores` wrote."""
    pages = tifffile.imread(path)
    stack = pages if pages.ndim == 3 else pages[None]
    return (stack / TOP).astype(np.float32)


def read_patch_probs(path: Path) -> dict[tuple[int, int], list[float]]:
    """Read `patch_probs.csv` as (frame, window) to K probabilities."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))[1:]
    return {(int(r[0]), int(r[1])): [float(v) for v in r[2:]] for r in rows}
