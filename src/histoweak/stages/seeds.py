"""Stage `seeds`: the pixels of every training frame whose class is taken as known."""

import json
from collections.abc import Iterator
from functools import partial
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from histoweak.atomic import atomic_write_text
from histoweak.classes import IGNORE_INDEX, ClassSet
from histoweak.config import StrictConfig
from histoweak.data.frames import FrameStore
from histoweak.errors import ConfigError
from histoweak.export.png import write_index_png
from histoweak.pipeline import Stage, StageContext
from histoweak.refine.chain import refine
from histoweak.refine.crf_config import CrfConfig
from histoweak.refine.seeds import Contest, WonScores, sure_seeds, two_threshold_seeds
from histoweak.refine.threshold import among_allowed
from histoweak.refine.white import WhiteConfig, white_mask
from histoweak.stages.pseudo_masks import allowed_classes, enlarge, mask_file
from histoweak.stages.scores import Reading, read_patch_probs, read_scores, score_file
from histoweak.training.config import RuntimeConfig

Scores = npt.NDArray[np.float32]
Mask = npt.NDArray[np.uint8]
Bool = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.intp]


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


def seeds_stage(
    config: SeedsConfig, reading: Reading, classes: ClassSet, runtime: RuntimeConfig
) -> Stage:
    """Make the stage; its artefact holds one index PNG per frame and `seeds.json`.

    Args:
        config: the rule.
        reading: what the scores mean.
        classes: the K classes.
        runtime: gives the device of the CRF.

    Raises:
        ConfigError: `background` is none of the classes, or missing or pointless by the rule; or
            the rule is for scores that mean something else.
    """
    by_thresholds = config.rule == "two-thresholds"
    if config.background not in (classes.names if by_thresholds else (None,)):
        raise ConfigError(
            f"seeds.background = {config.background!r} with seeds.rule = {config.rule!r}",
            expected=f"one of {list(classes.names)}" if by_thresholds else "null",
            remedy="Name the class that fills what no other class covers with "
            "rule=two-thresholds; rule=quantile knows none",
        )
    readings: tuple[Reading, ...] = ("peak", "min-max") if by_thresholds else ("posterior",)
    if reading not in readings:
        raise ConfigError(
            f"seeds.rule = {config.rule!r} with scores.reading = {reading!r}",
            expected=f"scores.reading among {list(readings)}",
            remedy="Change one of the two",
        )
    if by_thresholds and config.crf is not None and config.crf.rest is not None:
        raise ConfigError(
            f"seeds.crf.rest = {config.crf.rest} with seeds.rule = 'two-thresholds'",
            expected="null: what competes are seeds.sure and seeds.none",
            remedy="Leave it out",
        )
    run = partial(_run, config, runtime.torch_device())
    return Stage("seeds", config, ("frames", "scores"), run)


def _run(config: SeedsConfig, device: str, context: StageContext) -> None:
    store, classes = FrameStore(context.inputs["frames"]), context.manifest.classes
    thresholds = np.ones(len(classes), np.float32)
    if config.rule == "quantile":
        won = WonScores(len(classes))
        for _, scores, allowed in _scored(config, device, store, context, "learning what is sure"):
            won.update(scores, allowed)
        thresholds = won.thresholds(config.keep)
    counts = np.zeros(256, np.int64)
    for index, scores, allowed in _scored(config, device, store, context, "choosing seeds"):
        image = store.image(index)
        seeds = make_seeds(scores, allowed, image, thresholds, config, classes, device)
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
    config: SeedsConfig, device: str, store: FrameStore, context: StageContext, description: str
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
                image = np.asarray(store.image(index))
                scores = sharpened(image, scores, config.crf, _present(allowed), device)
                scores = among_allowed(scores, allowed)
        yield index, scores, allowed


def make_seeds(
    scores: Scores,
    allowed: Bool,
    image: Mask,
    thresholds: Scores,
    config: SeedsConfig,
    classes: ClassSet,
    device: str = "cpu",
) -> Mask:
    """Seeds of one frame.

    Args:
        scores: (K, H, W); for the rule `quantile` they sum to 1 over the allowed classes.
        allowed: (K, H, W), from `allowed_classes`.
        image: (H, W, 3) uint8.
        thresholds: (K,) of the rule `quantile`.
        config: the rule.
        classes: names `config.background` and the value of white.
        device: where the CRF computes.

    Returns:
        (H, W) uint8, 255 = no seed.
    """
    if config.rule == "quantile":
        seeds = sure_seeds(scores, allowed, thresholds)
    else:
        background = classes.names.index(str(config.background))
        possible = np.where(allowed, scores, 0)
        possible[background] = 0
        present = _present(allowed, background)
        high, low = (
            _against(image, possible, constant, config.crf, present, device)
            for constant in (config.sure, config.none)
        )
        seeds = two_threshold_seeds(high, low, background)
    seeds[~allowed.any(axis=0)] = IGNORE_INDEX
    if config.white is not None:
        seeds[white_mask(image, config.white)] = classes.white_index
    return seeds


def _present(allowed: Bool, background: int | None = None) -> Indices:
    """Classes that some pixel may carry, but for the background."""
    present: Indices = np.flatnonzero(allowed.any(axis=(1, 2)))
    return np.setdiff1d(present, [] if background is None else [background])


def _against(
    image: Mask,
    scores: Scores,
    constant: float,
    crf: CrfConfig | None,
    present: Indices,
    device: str,
) -> Contest:
    """Scores (K, H, W) and what the background scores against them."""
    if crf is None:
        return scores, np.full(scores.shape[1:], constant, np.float32)
    against = crf.model_copy(update={"rest": constant})
    refined = sharpened(image, scores, against, present, device)
    return refined, np.asarray(1 - refined.sum(axis=0), np.float32)


def sharpened(
    image: Mask, scores: Scores, crf: CrfConfig, present: Indices, device: str = "cpu"
) -> Scores:
    """Scores after a CRF between the classes that are present.

    How sure hard labels are to the CRF depends on how many labels compete, so that classes of the
    data set that an image cannot hold must not take part.

    Args:
        image: (H, W, 3) uint8.
        scores: (K, H, W) in [0, 1].
        crf: its settings.
        present: classes that compete, besides `crf.rest`.
        device: where to compute.

    Returns:
        (K, H, W) in [0, 1], 0 for classes that are not present.
    """
    refined = np.zeros_like(scores)
    if len(present):
        refined[present] = refine(image, scores[present], [crf], device)
    return refined
