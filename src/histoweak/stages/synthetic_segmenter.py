"""Stage `segmenter` of HisynSeg: learn from synthetic images and from labels of real ones."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Literal

import numpy as np
from pydantic import Field
from torch import nn

from histoweak.config import StrictConfig
from histoweak.data.crops import AugmentConfig, CropDataset, is_mixed
from histoweak.data.frames import FrameStore
from histoweak.errors import ManifestError
from histoweak.inference.gate import Gate
from histoweak.inference.model import TissueModel, load_model
from histoweak.nets.cam_segmenter import CamSegmenter
from histoweak.nets.segmenters import SegmenterNetConfig
from histoweak.pipeline import Stage, StageContext, is_leader
from histoweak.refine.white import WhiteConfig
from histoweak.stages.authenticity import load_discriminator
from histoweak.stages.model_folder import keep_model
from histoweak.stages.png_masks import PngMasks
from histoweak.stages.segmenter import validation_score
from histoweak.stages.two_batches import LossConfig, TwoBatches
from histoweak.synthesis.both import Kind
from histoweak.synthesis.cache import cut_patches
from histoweak.synthesis.config import SynthesisConfig
from histoweak.synthesis.online import FilterConfig, OnlineSynthesis
from histoweak.training.config import FitConfig, RuntimeConfig
from histoweak.training.fit import fit, seeded

MULTIPLE = 32
"""Crops are multiples of this, so that the CAM covers them exactly."""


class SyntheticSegmenterConfig(StrictConfig):
    """The segmenter and how it is trained.

    `dropout` is that before the CAM. `crop` is the side of real crops and synthetic images in
    pixels, also of what the discriminators learn from; `synthetic` is the number of synthetic
    images per real crop (`fit.batch` counts real crops). `real` says around which patches real
    crops lie in the first round: `mixed` (of several classes) or `all`. `validation_gate` is
    applied when `fit.select` is `val-mask`: `truth` cuts the classes that the labels of a
    validation image exclude, as the released code does. `filter` is what the discriminators'
    word is used for, where there are any. `white` is the rule for white background in predictions,
    null where white may be tissue.
    """

    net: SegmenterNetConfig = SegmenterNetConfig()
    dropout: float = Field(0.5, ge=0, lt=1)
    fit: FitConfig = FitConfig()
    augment: AugmentConfig = AugmentConfig()
    losses: LossConfig = LossConfig()
    crop: int = Field(224, ge=MULTIPLE, multiple_of=MULTIPLE)
    synthetic: float = Field(1.0, gt=0, le=16)
    real: Literal["mixed", "all"] = "mixed"
    filter: FilterConfig = FilterConfig()
    balance: Literal["patient", "none"] = "patient"
    validation_gate: Literal["none", "truth"] = "none"
    white: WhiteConfig | None = WhiteConfig()


class SyntheticSegmenterSetting(StrictConfig):
    """All that decides the artefact: the settings of the stage and of the synthesis."""

    segmenter: SyntheticSegmenterConfig
    synthesis: SynthesisConfig


def synthetic_segmenter_stage(
    config: SyntheticSegmenterConfig,
    synthesis: SynthesisConfig,
    runtime: RuntimeConfig,
    *,
    judged: Sequence[Kind] = (),
    masks: str | None = None,
    start: str | None = None,
    name: str = "segmenter",
) -> Stage:
    """Make the stage; its artefact holds `model/`, the segmenter without its CAM.

    Args:
        config: its settings.
        synthesis: how images are made.
        runtime: device and processes.
        judged: the kinds of images for which there is a stage `authenticity-KIND`.
        masks: the stage that left masks of the training frames, from which a later round learns in
            place of labels; None for the first round.
        start: the stage of the segmenter whose weights it begins with, a network of the same
            settings; None for what `net.weights` says.
        name: name of the stage.
    """
    setting = SyntheticSegmenterSetting(segmenter=config, synthesis=synthesis)
    judges = {kind: f"authenticity-{kind}" for kind in judged}
    inputs = ("frames", *judges.values(), *(earlier for earlier in (masks, start) if earlier))
    run = partial(_run, setting, runtime, judges, masks, start)
    return Stage(name, setting, inputs, run, distributed=True, version=2)


def _run(
    setting: SyntheticSegmenterSetting,
    runtime: RuntimeConfig,
    judges: dict[Kind, str],
    masks: str | None,
    start: str | None,
    context: StageContext,
) -> None:
    config = setting.segmenter
    if masks is not None:
        # Else the second round would see the crops and synthetic images of the first.
        context = replace(context, seed=_further(context.seed))
    store = FrameStore(context.inputs["frames"])
    classes = context.manifest.classes
    records = context.manifest.split("val")
    seeded(context.seed, "segmenter")
    network = CamSegmenter(config.net, len(classes), config.dropout)
    if start is not None:
        learned = load_model(context.inputs[start] / "model").network
        network.segmenter.load_state_dict(learned.state_dict())
    dataset = CropDataset(
        store,
        size=config.crop,
        augment=config.augment,
        seed=context.seed,
        n_classes=len(classes),
        balance=config.balance,
        mask_of=None if masks is None else PngMasks(context.inputs[masks]),
        keep=is_mixed if config.real == "mixed" and masks is None else None,
    )
    _require_real(dataset, store)
    synthesis = OnlineSynthesis(
        cut_patches(store, classes, setting.synthesis, context.scratch),
        config.crop,
        setting.synthesis,
        config.filter,
        {kind: load_discriminator(context.inputs[name]) for kind, name in judges.items()},
    )

    def wrapped(trained: nn.Module) -> TissueModel:
        assert isinstance(trained, CamSegmenter)  # noqa: S101 - what was given to `fit`
        mpp = store.frames[0].mpp
        return TissueModel(trained.segmenter, config.net, classes, mpp, config.white)

    def score(candidate: nn.Module) -> float:
        gate: Gate = config.validation_gate
        return validation_score(wrapped(candidate), records, config.fit.select, gate)

    trained = fit(
        network,
        TwoBatches(config.losses, synthesis, config.synthetic, config.augment),
        dataset,
        config.fit,
        runtime,
        context,
        description="training the segmenter",
        select=config.fit.select,
        score=score,
    )
    if is_leader():  # only the first process writes in the artefact
        keep_model(wrapped(trained), context.out)


def _further(seed: int) -> int:
    """A seed that follows from another one."""
    return int(np.random.SeedSequence((seed, *b"second round")).generate_state(1)[0])


def _require_real(dataset: CropDataset, store: FrameStore) -> None:
    if not dataset.groups:
        raise ManifestError(
            "no training patch is labelled with several classes",
            where=str(store.folder),
            expected="real patches of several classes beside the synthetic images",
            remedy="Cut larger patches, or set segmenter.real=all and authenticity=null",
        )
