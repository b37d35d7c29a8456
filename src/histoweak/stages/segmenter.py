"""Stage `segmenter`: train a segmentation network on masks of the training frames."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Literal

import numpy as np
from pydantic import Field, field_validator
from torch import Tensor, nn

from histoweak.config import StrictConfig
from histoweak.data.crops import AugmentConfig, Batch, CropDataset
from histoweak.data.frames import FrameStore
from histoweak.data.manifest import Record
from histoweak.errors import ConfigError, ManifestError
from histoweak.inference.evaluate import evaluate_model
from histoweak.inference.gate import Gate
from histoweak.inference.gating import GateRule
from histoweak.inference.model import TissueModel, load_model
from histoweak.metrics.scores import miou_present
from histoweak.nets.config import NetConfig
from histoweak.nets.segmenters import Segmenter, SegmenterNetConfig
from histoweak.nets.warm_start import require_same_encoder, take_encoder
from histoweak.objectives.segmentation import fifth_logit_loss, layered_loss, pixel_loss
from histoweak.pipeline import Stage, StageContext, is_leader
from histoweak.refine.white import WhiteConfig
from histoweak.stages.model_folder import keep_model
from histoweak.stages.png_masks import PngMasks
from histoweak.training.config import FitConfig, RuntimeConfig, Select
from histoweak.training.fit import fit, seeded


class SegmenterConfig(StrictConfig):
    """The segmenter.

    `start` is what its encoder begins with: `weights` as `net.weights` says, `classifier`, what
    the run's classifier has learned from the labels, or `refiner`, what the refinement network of
    `drs` has learned after it, where both have the same encoder. `crop` is the side of training
    crops in pixels; `bootstrap` the share of its own prediction in the target (see `pixel_loss`).
    `white` is the rule for white background in predictions, null where white may be tissue.
    """

    net: SegmenterNetConfig = SegmenterNetConfig()
    fit: FitConfig = FitConfig()
    augment: AugmentConfig = AugmentConfig()
    start: Literal["weights", "classifier", "refiner"] = "weights"
    crop: int = Field(224, ge=32)
    bootstrap: float = Field(0.0, ge=0, lt=1)
    balance: Literal["patient", "none"] = "patient"
    white: WhiteConfig | None = WhiteConfig()


class LayeredSegmenterConfig(SegmenterConfig):
    """The segmenter that learns from the masks of several layers.

    As in `SegmenterConfig`; `mask_weights` weighs the loss against the mask of each layer, shallow
    to deep, and masks of weight 0 are not read. `loss` is `ignore` (cross entropy over the pixels
    that carry a class) or `fifth-logit` (as the released code of MLPS has it, see
    `fifth_logit_loss`; no bootstrap).
    """

    mask_weights: tuple[float, ...] = Field((0.2, 0.2, 0.6), min_length=1)
    loss: Literal["ignore", "fifth-logit"] = "ignore"

    @field_validator("mask_weights")
    @classmethod
    def _some_weight(cls, weights: tuple[float, ...]) -> tuple[float, ...]:
        if min(weights) < 0 or not sum(weights) > 0:
            raise ValueError("weights must not be negative, and one must be more than 0")
        return weights

    def layers(self) -> dict[int | None, float]:
        """Weight of each layer that is read, by its number in `mask_file`."""
        deepest = len(self.mask_weights) - 1
        named = {None if i == deepest else i: w for i, w in enumerate(self.mask_weights)}
        return {layer: weight for layer, weight in named.items() if weight > 0}


def segmenter_stage(
    config: SegmenterConfig,
    runtime: RuntimeConfig,
    *,
    masks: str,
    name: str = "segmenter",
    starts: Mapping[str, NetConfig],
) -> Stage:
    """Make the stage; its artefact holds `model/`.

    Args:
        config: its settings.
        runtime: device and processes.
        masks: the stage whose artefact holds one PNG per frame, or `frames-with-masks`, whose
            frames carry the true masks.
        name: name of the stage.
        starts: the stages of the method whose network it may begin with, and their networks.

    Raises:
        ConfigError: it is to start from a network that the method does not train, or that has
            another encoder.
    """
    supervised = masks == "frames-with-masks"
    inputs = (masks,) if supervised else ("frames", masks)
    if config.start != "weights":
        if config.start not in starts:
            raise ConfigError(
                f"segmenter.start={config.start}, but nothing of that name is trained before it",
                expected=f"one of {['weights', *starts]}",
                remedy="Choose one of them",
            )
        require_same_encoder(config.net, starts[config.start])
        inputs = (*inputs, config.start)
    run = partial(_run, config, runtime, masks)
    return Stage(name, config, inputs, run, distributed=True, files=config.net.files)


def _run(
    config: SegmenterConfig, runtime: RuntimeConfig, masks: str, context: StageContext
) -> None:
    supervised = masks == "frames-with-masks"
    store = FrameStore(context.inputs["frames-with-masks" if supervised else "frames"])
    classes = context.manifest.classes
    mpp = store.frames[0].mpp
    seeded(context.seed, "segmenter")
    network = Segmenter(config.net, len(classes))
    if config.start != "weights":
        take_encoder(network, load_model(context.inputs[config.start] / "model").network)
    dataset = CropDataset(
        store,
        size=config.crop,
        augment=config.augment,
        seed=context.seed,
        n_classes=len(classes),
        balance=config.balance,
        mask_of=store.mask if supervised else PngMasks(context.inputs[masks], layers_of(config)),
    )
    records = context.manifest.split("val")

    def score(candidate: nn.Module) -> float:
        model = TissueModel(candidate, config.net, classes, mpp, config.white)
        return validation_score(model, records, config.fit.select)

    def objective(network: nn.Module, images: Tensor, batch: Batch) -> dict[str, Tensor]:
        if batch.masks is None:
            raise RuntimeError("crops came without masks")
        return {"loss": mask_loss(config, network(images), batch.masks)}

    trained = fit(
        network,
        objective,
        dataset,
        config.fit,
        runtime,
        context,
        description="training the segmenter",
        select=config.fit.select,
        score=score,
    )
    if not is_leader():
        return  # only the first process writes in the artefact
    model = TissueModel(trained, config.net, classes, mpp, config.white)
    keep_model(model, context.out)


def layers_of(config: SegmenterConfig) -> tuple[int | None, ...] | None:
    """Layers whose masks are read; None for the one mask of methods without layers."""
    return tuple(config.layers()) if isinstance(config, LayeredSegmenterConfig) else None


def mask_loss(config: SegmenterConfig, logits: Tensor, masks: Tensor) -> Tensor:
    """Loss of logits (B,K,H,W) against masks (B,H,W), or (B,M,H,W) of the layers that are read."""
    if not isinstance(config, LayeredSegmenterConfig):
        return pixel_loss(logits, masks, config.bootstrap)
    weights = tuple(config.layers().values())
    if config.loss == "fifth-logit":
        return fifth_logit_loss(logits, masks, weights, config.fit.batch)
    return layered_loss(logits, masks, weights, config.bootstrap)


def validation_score(
    model: TissueModel, records: Sequence[Record], select: Select, gate: Gate = "none"
) -> float:
    """Score a segmenter on the validation split.

    `val-mask`: mIoU against masks, with `gate` (`none` or `truth`). `val-label`: a patch is taken
    to contain the classes that the prediction gives more than 5 % of it; the score is the mean
    agreement with the labels.

    Raises:
        ManifestError: the split lacks what the choice needs.
    """
    needed = [r for r in records if (r.mask if select == "val-mask" else r.labels)]
    if not needed:
        raise ManifestError(
            f"no validation rows with {'masks' if select == 'val-mask' else 'labels'}",
            remedy=f"Add them, or use another choice than select={select}",
        )
    if select == "val-mask":
        return float(miou_present(evaluate_model(model, needed, gate=GateRule(gate)).total))
    agreement = []
    for record in needed:
        areas = model.predict_record(record).areas()
        total = max(1, sum(areas.values()))
        found = [int(area > 0.05 * total) for area in areas.values()]
        agreement.append(np.mean(np.equal(found, record.labels)))
    return float(np.mean(agreement))
