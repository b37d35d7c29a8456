"""Stage `pseudo-masks`: scores and patch labels become masks to train a segmenter on."""

import json
from functools import partial
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from pydantic import Field

from histoweak.classes import IGNORE_INDEX, ClassSet
from histoweak.config import StrictConfig
from histoweak.data.frames import Frame, FrameStore
from histoweak.data.manifest import Manifest
from histoweak.data.nuclei import nuclear_density
from histoweak.errors import ConfigError
from histoweak.export.png import write_index_png
from histoweak.pipeline import Stage, StageContext
from histoweak.refine.background import (
    BackgroundConfig,
    against_background,
    background_score,
    weigh_by_nuclei,
)
from histoweak.refine.chain import refine
from histoweak.refine.components import clean_mask
from histoweak.refine.config import Chain, files_of
from histoweak.refine.threshold import (
    among_allowed,
    gate,
    joint_mask,
    min_max_mask,
    posterior_mask,
)
from histoweak.refine.white import WhiteConfig, white_mask
from histoweak.stages.saliency import SaliencyMaps
from histoweak.stages.scores import Reading, read_patch_probs, read_scores, score_file
from histoweak.training.config import RuntimeConfig

Scores = npt.NDArray[np.float32]
Mask = npt.NDArray[np.uint8]


class PseudoMaskConfig(StrictConfig):
    """How scores become masks.

    `threshold` is the confidence that a pixel needs; `gate` the probability that the classifier
    must give each class of a patch of several classes, null for no gate. Pixels that no patch
    speaks for are ignored. `negative` names the class that takes all other pixels in the
    `min-max` reading; without it they are ignored. `absent` says what becomes of classes that no
    label names in the `joint` reading: `exclude` cuts them, `zero` leaves them the least score,
    with which the first of them wins where no present class has more. Components below `min_area`
    of the frame are ignored. `white` is the rule for white background, null where white may be
    tissue. `background` is what competes with the classes besides each other, null for nothing.
    Of methods with masks of several layers, `within_deepest` ignores in all of them what the
    deepest leaves open: shallow layers may then contradict it, but not fill its gaps. Before
    all that, `refine` are refiners that the scores go through, enlarged to the frame.
    """

    threshold: float = Field(0.70, ge=0, le=1)
    absent: Literal["exclude", "zero"] = "exclude"
    gate: float | None = Field(0.70, ge=0, le=1)
    negative: str | None = None
    min_area: float = Field(0.005, ge=0, lt=1)
    white: WhiteConfig | None = WhiteConfig()
    background: BackgroundConfig | None = None
    refine: Chain = ()
    within_deepest: bool = False


def pseudo_mask_stage(
    config: PseudoMaskConfig,
    reading: Reading,
    classes: ClassSet,
    scores: str = "scores",
    *,
    runtime: RuntimeConfig,
    everywhere: str | None = None,
) -> Stage:
    """Make the stage.

    Its artefact holds one index PNG per frame and layer of the scores (see `mask_file`), and
    `pseudo_masks.json` with the share of pixels that carry a class (`coverage`) and each class
    (`share`) in the masks of the deepest layer, and the coverage of every layer (`layers`).

    Args:
        config: thresholds and rules.
        reading: what the scores mean.
        classes: the K classes.
        scores: the stage whose artefact holds the scores.
        runtime: gives the device of the refiners.
        everywhere: one of the classes that every patch may hold, whatever its label says; follows
            from the settings of the classifier behind the scores.

    Raises:
        ConfigError: `negative` is none of the classes, or `background` does not go with the rest;
            better said before training than after.
    """
    if config.negative is not None and config.negative not in classes.names:
        raise ConfigError(
            f"pseudo_masks.negative = {config.negative!r}",
            expected=f"one of {list(classes.names)}",
            remedy="Name a class of the data set, or set it to null",
        )
    files, check = files_of(config.refine), None
    if config.background is not None:
        _require_fit(config.background, config.negative, reading)
        if config.background.kind == "saliency":
            maps = SaliencyMaps(config.background.folder)
            files += tuple(maps.paths.values())
            check = partial(_require_maps, maps)
    common = None if everywhere is None else classes.names.index(everywhere)
    run = partial(_run, config, reading, scores, runtime.torch_device(), common)
    return Stage("pseudo-masks", config, ("frames", scores), run, files=files, check=check)


def _require_maps(maps: SaliencyMaps, manifest: Manifest) -> None:
    maps.require(record.image for record in manifest.split("train"))


def _require_fit(background: BackgroundConfig, negative: str | None, reading: Reading) -> None:
    if background.kind == "nuclei":
        if negative is None:
            raise ConfigError(
                "pseudo_masks.background.kind = 'nuclei' without pseudo_masks.negative",
                expected="a class that the others are weighed down against",
                remedy="Name it, or set pseudo_masks.background to null",
            )
    elif reading == "posterior":
        raise ConfigError(
            f"pseudo_masks.background.kind = {background.kind!r} with scores.reading = 'posterior'",
            expected="scores that do not sum to one, for the background to compete with",
            remedy="Set scores.reading to peak or min-max, or pseudo_masks.background to null",
        )


def _run(
    config: PseudoMaskConfig,
    reading: Reading,
    scored: str,
    device: str,
    common: int | None,
    context: StageContext,
) -> None:
    store = FrameStore(context.inputs["frames"])
    classes = context.manifest.classes
    probs = read_patch_probs(context.inputs[scored] / "patch_probs.csv")
    stride = json.loads((context.inputs[scored] / "scores.json").read_text())["stride"]
    external = None
    if config.background is not None and config.background.kind == "saliency":
        external = SaliencyMaps(config.background.folder)
    counts: list[npt.NDArray[np.int64]] = []
    frames = context.progress.track(enumerate(store.frames), len(store), "making pseudo-masks")
    for index, frame in frames:
        coarse = read_scores(context.inputs[scored] / score_file(index))
        scores = enlarge(coarse, stride, (frame.height, frame.width))
        own = np.array([probs[index, w] for w in range(len(frame.boxes))], np.float32)
        allowed = allowed_classes(frame, own, config.gate, len(classes), common)
        saliency = None if external is None else external(frame)
        image = store.image(index)
        masks = [
            # Classes compete within a layer, not with those of other layers.
            make_mask(
                refine(image, layer, config.refine, device),
                allowed,
                image,
                config,
                reading,
                classes,
                saliency,
            )
            for layer in scores.reshape(-1, len(classes), *scores.shape[1:])
        ]
        counts = counts or [np.zeros(256, np.int64) for _ in masks]
        for layer, mask in enumerate(masks):
            if config.within_deepest:
                mask[masks[-1] == IGNORE_INDEX] = IGNORE_INDEX
            name = mask_file(index, None if mask is masks[-1] else layer)
            write_index_png(context.out / name, mask, classes)
            counts[layer] += np.bincount(mask.ravel(), minlength=256)
    shares = [count / count.sum() for count in counts]
    summary = {
        "coverage": 1 - float(shares[-1][IGNORE_INDEX]),
        "share": {name: float(shares[-1][i]) for i, name in enumerate(classes.names)},
        "layers": [1 - float(share[IGNORE_INDEX]) for share in shares],
    }
    (context.out / "pseudo_masks.json").write_text(json.dumps(summary, indent=2))


def mask_file(index: int, layer: int | None = None) -> str:
    """File name of one frame's mask; `layer` counts from the shallowest, None is the deepest."""
    return f"{index:06d}.png" if layer is None else f"{index:06d}-{layer}.png"


def allowed_classes(
    frame: Frame,
    probs: Scores,
    threshold: float | None,
    n_classes: int,
    common: int | None = None,
) -> npt.NDArray[np.bool_]:
    """Classes that the labels allow at each pixel.

    A pixel that several patches cover may only carry a class that all of them name; where they
    contradict each other (labels overlook small areas), any class that one of them names. Patches
    that fail the gate say nothing.

    Args:
        frame: windows and labels.
        probs: (N, K) probabilities that the classifier gives the windows.
        threshold: of the gate, or None.
        n_classes: K.
        common: index of a class that every label names, whatever it says, or None.

    Returns:
        (K, H, W) bool; all False where no patch speaks.
    """
    labels = np.array(frame.labels, np.int64).reshape(-1, n_classes)
    if common is not None:
        labels[:, common] = 1
    speaks = np.ones(len(labels), bool) if threshold is None else gate(probs, labels, threshold)
    shape = (n_classes, frame.height, frame.width)
    every, some = np.ones(shape, bool), np.zeros(shape, bool)
    for box, label in zip(np.asarray(frame.boxes)[speaks], labels[speaks] > 0, strict=True):
        x0, y0, x1, y1 = np.round(box).astype(int)
        every[:, y0:y1, x0:x1] &= label[:, None, None]
        some[:, y0:y1, x0:x1] |= label[:, None, None]
    agreed = every & some
    contradicted = some.any(axis=0) & ~agreed.any(axis=0)
    result: npt.NDArray[np.bool_] = np.where(contradicted, some, agreed)
    return result


def make_mask(
    scores: Scores,
    allowed: npt.NDArray[np.bool_],
    image: Mask,
    config: PseudoMaskConfig,
    reading: Reading,
    classes: ClassSet,
    saliency: Mask | None = None,
) -> Mask:
    """Make the mask of one frame.

    Args:
        scores: (K, H, W) in [0, 1].
        allowed: (K, H, W) bool, from `allowed_classes`.
        image: (H, W, 3) uint8.
        config: thresholds and rules.
        reading: what the scores mean.
        classes: names `config.negative` and the value of white.
        saliency: (H, W) uint8 map of another program, where the background asks for it.
    """
    white = None if config.white is None else white_mask(image, config.white)
    negative = None if config.negative is None else classes.names.index(config.negative)
    background = config.background
    if background is not None and background.kind == "nuclei" and negative is not None:
        density = nuclear_density(image, background.sigma, white)
        scores = weigh_by_nuclei(scores, density, background.weight, negative)
        background = None
    if reading == "posterior":
        mask = posterior_mask(among_allowed(scores, allowed), config.threshold)
    elif reading == "joint":
        mask = joint_mask(scores, allowed, config.threshold, config.absent == "exclude")
    elif background is None:
        rest = IGNORE_INDEX if negative is None else negative
        mask = min_max_mask(np.where(allowed, scores, 0), config.threshold, rest)
    else:
        opponent = background_score(background, saliency, (image.shape[0], image.shape[1]))
        possible = np.where(allowed, scores, 0)
        mask = against_background(
            possible, opponent, config.threshold, negative, background.crowded
        )
    mask[~allowed.any(axis=0)] = IGNORE_INDEX
    if white is not None:
        mask[white] = classes.white_index
    return clean_mask(mask, round(config.min_area * mask.size))


def enlarge(scores: Scores, stride: int, size: tuple[int, int]) -> Scores:
    """Scores (K, h, w) to (K, *size), bilinearly; each covers `stride` pixels per side."""
    full = scores.shape[1] * stride, scores.shape[2] * stride
    enlarged = F.interpolate(
        torch.from_numpy(scores)[None], full, mode="bilinear", align_corners=False
    )
    result: Scores = enlarged[0, :, : size[0], : size[1]].numpy()
    return result
