"""Stage `seeds`: the pixels of every training frame whose class is taken as known."""

import json
from collections.abc import Iterator
from functools import partial
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from histoweak.classes import IGNORE_INDEX, ClassSet
from histoweak.config import StrictConfig
from histoweak.data.frames import FrameStore
from histoweak.errors import ConfigError
from histoweak.export.png import write_index_png
from histoweak.pipeline import Stage, StageContext, atomic_write_text
from histoweak.refine.chain import refine
from histoweak.refine.crf_config import CrfConfig
from histoweak.refine.seeds import Contest, WonScores, sure_seeds, two_threshold_seeds
from histoweak.refine.threshold import among_allowed
from histoweak.refine.white import WhiteConfig, white_mask
from histoweak.stages.pseudo_masks import allowed_classes, enlarge, mask_file
from histoweak.stages.scores import read_patch_probs, read_scores, score_file

Scores = npt.NDArray[np.float32]
Mask = npt.NDArray[np.uint8]
Bool = npt.NDArray[np.bool_]


class SeedsConfig(StrictConfig):
    """What counts as sure.

    `rule` `quantile`: of the pixels that a class wins, over all training frames, the share `keep`
    with the highest scores; for scores read as `posterior`. Pixels whose labels allow a single
    class are seeds of it. `two-thresholds`: scores that beat the constant `sure` are seeds, and
    pixels where nothing beats `none` are seeds of the class `background`, whose own map is not
    looked at; for scores read as `peak` or `min-max`.

    `crf` sharpens the scores along colours first, for either threshold against its own constant;
    null for none. `gate` is the probability that the classifier must give each class of a patch of
    several classes, null for no gate; pixels that no patch speaks for carry no seed. `white` is the
    rule for white background, null where white may be tissue.
    """

    rule: Literal["quantile", "two-thresholds"] = "quantile"
    keep: float = Field(0.5, gt=0, le=1)
    sure: float = Field(0.30, gt=0, lt=1)
    none: float = Field(0.05, ge=0, lt=1)
    background: str | None = None
    crf: CrfConfig | None = None
    gate: float | None = Field(0.70, ge=0, le=1)
    white: WhiteConfig | None = WhiteConfig()


def seeds_stage(config: SeedsConfig, classes: ClassSet) -> Stage:
    """Make the stage; its artefact holds one index PNG per frame and `seeds.json`.

    Raises:
        ConfigError: `background` is none of the classes, or missing where the rule needs it.
    """
    needed = config.rule == "two-thresholds"
    if config.background not in (*classes.names, *(() if needed else (None,))):
        raise ConfigError(
            f"seeds.background = {config.background!r}",
            expected=f"one of {list(classes.names)}{'' if needed else ' or null'}",
            remedy="Name the class that fills what no other class covers, or use rule=quantile",
        )
    return Stage("seeds", config, ("frames", "scores"), partial(_run, config))


def _run(config: SeedsConfig, context: StageContext) -> None:
    store, classes = FrameStore(context.inputs["frames"]), context.manifest.classes
    thresholds = np.ones(len(classes), np.float32)
    if config.rule == "quantile":
        won = WonScores(len(classes))
        for _, scores, allowed in _scored(config, store, context, "learning what is sure"):
            won.update(scores, allowed)
        thresholds = won.thresholds(config.keep)
    counts = np.zeros(256, np.int64)
    for index, scores, allowed in _scored(config, store, context, "choosing seeds"):
        seeds = make_seeds(scores, allowed, store.image(index), thresholds, config, classes)
        write_index_png(context.out / mask_file(index), seeds, classes)
        counts += np.bincount(seeds.ravel(), minlength=256)
    shares = counts / counts.sum()
    summary = {
        "coverage": 1 - float(shares[IGNORE_INDEX]),
        "share": {name: float(shares[i]) for i, name in enumerate(classes.names)},
    }
    if config.rule == "quantile":
        summary["thresholds"] = dict(zip(classes.names, map(float, thresholds), strict=True))
    atomic_write_text(context.out / "seeds.json", json.dumps(summary, indent=2))


def _scored(
    config: SeedsConfig, store: FrameStore, context: StageContext, description: str
) -> Iterator[tuple[int, Scores, Bool]]:
    """Index, scores (K, H, W) and allowed classes (K, H, W) of every frame."""
    folder, n_classes = context.inputs["scores"], len(context.manifest.classes)
    stride = json.loads((folder / "scores.json").read_text())["stride"]
    probs = read_patch_probs(folder / "patch_probs.csv")
    frames = context.progress.track(enumerate(store.frames), len(store), description)
    for index, frame in frames:
        size = (frame.height, frame.width)
        scores = enlarge(read_scores(folder / score_file(index)), stride, size)
        own = np.array([probs[index, w] for w in range(len(frame.boxes))], np.float32)
        allowed = allowed_classes(frame, own, config.gate, n_classes)
        if config.rule == "quantile":
            scores = among_allowed(scores, allowed)
            if config.crf is not None:
                scores = refine(np.asarray(store.image(index)), scores, [config.crf])
                scores = among_allowed(scores, allowed)
        yield index, scores, allowed


def make_seeds(
    scores: Scores,
    allowed: Bool,
    image: Mask,
    thresholds: Scores,
    config: SeedsConfig,
    classes: ClassSet,
) -> Mask:
    """Seeds of one frame.

    Args:
        scores: (K, H, W); for the rule `quantile` they sum to 1 over the allowed classes.
        allowed: (K, H, W), from `allowed_classes`.
        image: (H, W, 3) uint8.
        thresholds: (K,) of the rule `quantile`.
        config: the rule.
        classes: names `config.background` and the value of white.

    Returns:
        (H, W) uint8, 255 = no seed.
    """
    if config.rule == "quantile":
        seeds = sure_seeds(scores, allowed, thresholds)
    else:
        background = classes.names.index(str(config.background))
        present = np.where(allowed, scores, 0)
        present[background] = 0
        high, low = (_against(image, present, c, config.crf) for c in (config.sure, config.none))
        seeds = two_threshold_seeds(high, low, background)
    seeds[~allowed.any(axis=0)] = IGNORE_INDEX
    if config.white is not None:
        seeds[white_mask(image, config.white)] = classes.white_index
    return seeds


def _against(image: Mask, scores: Scores, constant: float, crf: CrfConfig | None) -> Contest:
    """Scores (K, H, W) and what the background scores against them."""
    if crf is None:
        return scores, np.full(scores.shape[1:], constant, np.float32)
    refined: Scores = refine(image, scores, [crf.model_copy(update={"rest": constant})])
    return refined, np.asarray(1 - refined.sum(axis=0), np.float32)
