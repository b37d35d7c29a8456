"""Stage `walk`: the scores of every training frame after a random walk that boundaries stop."""

import json
import shutil
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from histoweak.atomic import atomic_write_text
from histoweak.classes import ClassSet
from histoweak.data.frames import Frame, FrameStore
from histoweak.errors import ConfigError
from histoweak.inference.model import TissueModel, load_model
from histoweak.pipeline import Stage, StageContext
from histoweak.refine.random_walk import random_walk
from histoweak.refine.threshold import among_allowed
from histoweak.stages.pseudo_masks import allowed_classes
from histoweak.stages.scores import read_patch_probs, read_scores, score_file, write_scores
from histoweak.stages.walk_config import WalkConfig
from histoweak.stages.walk_instances import (
    InstanceRow,
    walk_instances,
    write_instance_table,
    write_instances,
)
from histoweak.training.config import RuntimeConfig

UInt8 = npt.NDArray[np.uint8]
Scores = npt.NDArray[np.float32]
Bool = npt.NDArray[np.bool_]

LEAST = 1e-6
"""Walked scores below this in all are rounding."""


def walk_stage(config: WalkConfig, runtime: RuntimeConfig, classes: ClassSet) -> Stage:
    """Make the stage; its artefact has the form of that of the stage `scores`.

    With `instances` it also holds `instances/`, one 32-bit TIFF per frame at the stride of the
    scores (0 = none), and `instances.csv` with a row for each.

    Raises:
        ConfigError: `background` is none of the classes, or goes with shares of the classes.
    """
    if config.background is not None and config.scale == "classes":
        raise ConfigError(
            f"walk.background = {config.background!r} with walk.scale = 'classes'",
            expected="walk.scale = 'image', for without its own map the class has no share",
            remedy="Set walk.background=null, so that its map takes part",
        )
    if config.background not in (None, *classes.names):
        raise ConfigError(
            f"walk.background = {config.background!r}",
            expected=f"one of {list(classes.names)} or null",
            remedy="Name a class of the data set, or set it to null",
        )
    inputs = ("frames", "scores", "boundary")
    return Stage("walk", config, inputs, partial(_run, config, runtime))


def _run(config: WalkConfig, runtime: RuntimeConfig, context: StageContext) -> None:
    store, classes = FrameStore(context.inputs["frames"]), context.manifest.classes
    source = context.inputs["scores"]
    stride = json.loads((source / "scores.json").read_text())["stride"]
    patch_probs = read_patch_probs(source / "patch_probs.csv")
    model = load_model(context.inputs["boundary"] / "model", device=runtime.torch_device())
    frames = context.progress.track(enumerate(store.frames), len(store), "walking")
    table: list[InstanceRow] = []
    for index, frame in frames:
        boundary = boundary_map(model, store.image(index), None, config)
        scores = to_grid(read_scores(source / score_file(index)), stride / model.stride, boundary)
        own = np.array([patch_probs[index, w] for w in range(len(frame.boxes))], np.float32)
        allowed = _on_grid(frame, own, config.gate, len(classes), model.stride, boundary)
        walked = walk(scores, boundary, config, classes, allowed, str(model.device))
        write_scores(context.out / score_file(index), walked)
        if config.instances:
            start = _start(scores, boundary, config, classes, allowed)
            field = model.maps(store.image(index), tile=config.tile)[1:]
            found = walk_instances(start, boundary, field, config, str(model.device))
            table += write_instances(context.out, index, *found)
    if config.instances:
        write_instance_table(context.out / "instances.csv", table)
    shutil.copyfile(source / "patch_probs.csv", context.out / "patch_probs.csv")
    atomic_write_text(context.out / "scores.json", json.dumps({"stride": model.stride}))


def boundary_map(model: TissueModel, image: UInt8, mpp: float | None, config: WalkConfig) -> Scores:
    """(h, w) boundary of an image in [0, 1]; orientations are averaged before the sigmoid."""
    logits = model.maps(image, mpp, tta=config.tta, tile=config.tile)[0]
    return np.asarray(1 / (1 + np.exp(-logits)), np.float32)


def to_grid(scores: Scores, zoom: float, boundary: Scores) -> Scores:
    """Scores (K, h', w') on the grid of a boundary map (h, w), `zoom` times finer."""
    size = [max(1, round(cells * zoom)) for cells in scores.shape[1:]]
    fine = F.interpolate(torch.from_numpy(scores)[None], size, mode="bilinear")[0].numpy()
    missing = [(0, max(0, want - has)) for want, has in zip(boundary.shape, size, strict=True)]
    padded = np.pad(fine, [(0, 0), *missing], mode="edge")
    return np.asarray(padded[:, : boundary.shape[0], : boundary.shape[1]])


def _on_grid(
    frame: Frame, probs: Scores, gate: float | None, n_classes: int, stride: int, boundary: Scores
) -> Bool:
    """(K, h, w) classes that labels allow at the centre of each cell."""
    allowed = allowed_classes(frame, probs, gate, n_classes)
    centres = [
        np.minimum(np.arange(cells) * stride + stride // 2, length - 1)
        for cells, length in zip(boundary.shape, allowed.shape[1:], strict=True)
    ]
    return np.asarray(allowed[:, centres[0]][:, :, centres[1]])


def walk(
    scores: Scores,
    boundary: Scores,
    config: WalkConfig,
    classes: ClassSet,
    allowed: Bool | None = None,
    device: str = "cpu",
) -> Scores:
    """Let the scores of one image walk.

    Args:
        scores: (K, h, w) in [0, 1].
        boundary: (h, w) in [0, 1].
        config: how.
        classes: names `config.background`.
        allowed: (K, h, w) classes that labels allow; None where there are no labels.
        device: where to compute.

    Returns:
        (K, h, w) in [0, 1].
    """
    start = _start(scores, boundary, config, classes, allowed)
    maps, wall = (torch.from_numpy(np.asarray(v, np.float32)).to(device) for v in (start, boundary))
    moved = random_walk(
        maps[None],
        wall[None],
        radius=config.radius,
        beta=config.beta,
        steps=config.steps,
        tolerance=config.tolerance,
    )[0]
    # Long walks are sums of terms of both signs: rounding may leave a hair below 0.
    walked = moved.clamp(min=0).cpu().numpy()
    if config.scale == "image":
        return np.asarray(walked / max(float(walked.max()), LEAST), np.float32)
    total = walked.sum(axis=0)
    # Where a boundary lets nothing through and nothing start, the scores stay as they were.
    still = scores if allowed is None else among_allowed(scores, allowed)
    shares = np.where(total > LEAST, walked / np.maximum(total, LEAST), still)
    return np.asarray(shares, np.float32).clip(0, 1)


def _start(
    scores: Scores, boundary: Scores, config: WalkConfig, classes: ClassSet, allowed: Bool | None
) -> Scores:
    """(K, h, w) that the walk begins with."""
    if config.background is not None:
        scores = scores.copy()
        scores[classes.names.index(config.background)] = 0
    if allowed is not None:
        shared = config.scale == "classes"
        scores = among_allowed(scores, allowed) if shared else np.where(allowed, scores, 0)
    return np.asarray(scores * (1 - boundary) if config.damp else scores, np.float32)
