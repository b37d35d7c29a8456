"""Stages `cmil-max` and `cmil-min`: instances learn from the labels of the images they lie in.

Of each image and class, one instance answers for the label. The instances are judged without
gradient; a second pass over the chosen ones alone learns. Both passes agree bit for bit, since
group normalisation treats every instance on its own; with `norm: batch` the first pass uses the
running statistics. Bags without tissue are skipped.
"""

from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from histoweak.config import StrictConfig
from histoweak.data.crops import AugmentConfig, Batch, CropDataset
from histoweak.data.frames import FrameStore
from histoweak.data.instances import (
    INSTANCES,
    InstanceStore,
    cut,
    lattices,
    tissue,
)
from histoweak.errors import ConfigError
from histoweak.inference.model import TissueModel
from histoweak.nets.instances import InstanceNet, InstanceNetConfig
from histoweak.objectives.classification import class_weights
from histoweak.objectives.mil import (
    Criterion,
    answer_loss,
    answers,
    certain,
    choose,
    known_loss,
    naming,
)
from histoweak.pipeline import Stage, StageContext, is_leader
from histoweak.stages.classifier import MULTIPLE, usual_window
from histoweak.stages.labels import mean_precision
from histoweak.stages.model_folder import keep_model
from histoweak.training.config import FitConfig, RuntimeConfig
from histoweak.training.fit import fit, seeded


class BagConfig(StrictConfig):
    """How images become bags of instances.

    `crop` is the side in pixels of what is cut around a patch, null for what holds 95 of 100. An
    instance whose share of pixels brighter than `gray` exceeds `blank` is never chosen. `share`
    is the least share of the tissue of a patch that a present class is known to cover: so many
    instances answer for it. `shift` moves the lattice at random from step to step. `certain` weighs
    a second loss, over what the label says of every instance: the chosen ones hold no class that
    the patch lacks, and they hold the class of a patch that has but one. `negative` names a class
    without answers of its own, null for none: every patch may hold it, whatever its label says, and
    an instance does as far as it holds none of the others.
    """

    crop: int | None = Field(None, ge=MULTIPLE, multiple_of=MULTIPLE)
    gray: int = Field(220, ge=0, le=255)
    blank: float = Field(0.7, ge=0, le=1)
    share: float = Field(0.0, ge=0, le=1)
    shift: bool = True
    certain: float = Field(0.0, ge=0)
    negative: str | None = None


@dataclass(frozen=True)
class Round:
    """One round of the cascade.

    Args:
        suffix: what the names of its stages end with.
        bags: the stage whose instances are bags beside the patches, or none.
    """

    suffix: str = ""
    bags: tuple[str, ...] = ()

    def name(self, stage: str) -> str:
        """Name of a stage in this round."""
        return f"{stage}-{self.suffix}" if self.suffix else stage

    def store(self, context: StageContext) -> FrameStore:
        """Frames whose windows are the bags of this round."""
        frames = context.inputs["frames"]
        for name in self.bags:
            return InstanceStore(frames, context.inputs[name] / INSTANCES)
        return FrameStore(frames)


FIRST = Round()


class CmilConfig(StrictConfig):
    """Training of an instance classifier by one criterion."""

    net: InstanceNetConfig = InstanceNetConfig()
    bags: BagConfig = BagConfig()
    fit: FitConfig = FitConfig(batch=4)
    augment: AugmentConfig = AugmentConfig()
    balance: Literal["patient", "none"] = "patient"
    weighted: bool = True


def cmil_stage(
    config: CmilConfig, runtime: RuntimeConfig, criterion: Criterion, round_: Round = FIRST
) -> Stage:
    """Make the stage; its artefact holds `model/`."""
    run = partial(_run, config, runtime, criterion, round_)
    name = round_.name(f"cmil-{criterion.removeprefix('max-')}")
    inputs = ("frames", *round_.bags)
    return Stage(name, config, inputs, run, version=2, distributed=True, files=config.net.files)


def _run(
    config: CmilConfig,
    runtime: RuntimeConfig,
    criterion: Criterion,
    round_: Round,
    context: StageContext,
) -> None:
    store, patches = round_.store(context), FrameStore(context.inputs["frames"])
    classes = context.manifest.classes
    size = config.bags.crop or usual_window(patches, MULTIPLE)
    _require_room(config.net.side, min(size, usual_window(patches, 1)), round_)
    seeded(context.seed, f"cmil {criterion}")
    network = InstanceNet(config.net, len(classes))
    dataset = CropDataset(
        store,
        size=size,
        augment=config.augment,
        seed=context.seed,
        n_classes=len(classes),
        balance=config.balance,
    )
    weights = label_weights(store, network.answering) if config.weighted else None
    bags = Bags(config.bags, config.net.side)

    def objective(network: nn.Module, images: Tensor, batch: Batch) -> dict[str, Tensor]:
        assert isinstance(network, InstanceNet)  # noqa: S101 - for type checkers
        return {"loss": bags.loss(network, images, batch, criterion, weights)}

    mpp, records = store.frames[0].mpp, context.manifest.split("val")

    def score(candidate: nn.Module) -> float:
        return mean_precision(TissueModel(candidate, config.net, classes, mpp), records)

    trained = fit(
        network,
        objective,
        dataset,
        config.fit,
        runtime,
        context,
        description=f"training instances by {criterion}",
        select=config.fit.select,
        score=score,
    )
    if is_leader():
        keep_model(TissueModel(trained, config.net, classes, mpp), context.out)


def _require_room(side: int, window: int, round_: Round) -> None:
    if side > window:
        prefix = "cascade." if round_.suffix else ""
        raise ConfigError(
            f"{prefix}cmil.net.side = {side} with patches of {window} pixels at working scale",
            expected="an instance that fits into a patch, better several",
            remedy=f"Set {prefix}cmil.net.side to {window // 2} or less, or lower frames.mpp",
        )


def label_weights(store: FrameStore, answering: list[int]) -> Tensor:
    """Weights inverse to how many windows of a store name each of the classes that answer."""
    labels = [label for frame in store.frames for label in frame.labels]
    return class_weights(torch.tensor(labels)[:, answering])


class Bags:
    """The instances of the windows of a batch.

    Args:
        config: which instances may be chosen, and how many.
        side: of an instance in pixels.
    """

    def __init__(self, config: BagConfig, side: int) -> None:
        self.config, self.side = config, side

    def squares(self, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Squares of windows (N, 5) as from `lattices`, moved at random if so wanted."""
        shift = torch.rand(len(boxes), 2).to(boxes) if self.config.shift else None
        return lattices(boxes, self.side, shift)

    def loss(
        self,
        network: InstanceNet,
        images: Tensor,
        batch: Batch,
        criterion: Criterion,
        weights: Tensor | None,
    ) -> Tensor:
        """Loss of the instances that answer for the labels of the batch.

        Args:
            network: the classifier of instances, K classes, of which A answer.
            images: (B, 3, C, C) in [0, 1], what it sees.
            batch: windows, their labels, and the images before augmentation of stain.
            criterion: how present classes choose.
            weights: (A,) class weights, or None.

        Returns:
            A number; zero, with gradient, where no window of the batch holds tissue.
        """
        squares, real = self.squares(batch.boxes)
        instances = cut(images, squares, self.side)
        valid = real & tissue(batch.images, squares, self.config.gray, self.config.blank)
        if not valid.any():
            return torch.stack([p.sum() for p in network.parameters()]).sum() * 0
        own, named = network.answering, naming(batch.labels, network.negative)
        labels, probs = named[:, own], judge(network, instances, valid)[..., own]
        picks = choose(probs, labels, valid, criterion, self.config.share)
        said = answers(lambda some: network.classify(some)[:, own], instances, picks)
        rare = None if weights is None else weights.to(said.own)
        loss = answer_loss(said.own, labels, picks.valid, rare)
        if self.config.certain > 0:
            told = certain(named)[said.image][:, own]
            loss = loss + self.config.certain * known_loss(said.logits, told)
        return loss


def judge(network: InstanceNet, instances: Tensor, valid: Tensor) -> Tensor:
    """Probabilities (B, n, K) of instances (B, n, 3, s, s), without gradient.

    Only those that are `valid` (B, n) are judged; the others have 0.
    """
    training = network.training
    with torch.no_grad():
        found = network.eval().classify(instances[valid]).sigmoid()
    network.train(training)
    # Under mixed precision, older versions of PyTorch keep the weights cast here, without gradient.
    torch.clear_autocast_cache()
    probs = found.new_zeros(*valid.shape, found.shape[1])
    probs[valid] = found
    return probs
