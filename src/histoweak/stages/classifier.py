"""Stage `classifier`: train a network on patch labels whose class maps explain its scores."""

import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from histoweak.config import StrictConfig
from histoweak.data.crops import AugmentConfig, Batch, CropDataset
from histoweak.data.frames import FrameStore
from histoweak.errors import ConfigError
from histoweak.inference.look import look
from histoweak.inference.model import TissueModel
from histoweak.nets.cam_classifier import ClassifierNetConfig
from histoweak.nets.config import MapsNetConfig
from histoweak.nets.histosegnet import HistoSegNetConfig
from histoweak.nets.kinds import build_network
from histoweak.nets.suppression import SuppressedNetConfig
from histoweak.objectives.classification import (
    class_weights,
    multilabel_loss,
    single_label_loss,
)
from histoweak.objectives.evidence import (
    absent_evidence_loss,
    present_evidence_loss,
    window_cells,
)
from histoweak.pipeline import Stage, StageContext, is_leader
from histoweak.stages.labels import label_scores, mean_precision
from histoweak.stages.model_folder import keep_model
from histoweak.training.config import FitConfig, RuntimeConfig
from histoweak.training.fit import fit, seeded

MULTIPLE = 32
"""Crops are multiples of this, so that every encoder can halve them evenly."""


class MapsClassifierConfig(StrictConfig):
    """Any patch classifier that yields class maps.

    `crop` is the side in pixels of what the network sees; null takes what holds 95 of 100 windows,
    so that each patch is seen on its own. A larger crop shows the surroundings too, where the
    manifest knows them. `loss` is `multilabel` (sigmoid per class) or `single-label` (softmax,
    patches of one class only). `absent_evidence` and `present_evidence` weigh the two evidence
    losses, `present_share` is the share of a patch that a present class is trusted to cover.
    `weighted` weighs classes inversely to their frequency.
    """

    net: MapsNetConfig
    fit: FitConfig = FitConfig()
    augment: AugmentConfig = AugmentConfig()
    crop: int | None = Field(None, ge=MULTIPLE, multiple_of=MULTIPLE)
    loss: Literal["multilabel", "single-label"] = "multilabel"
    absent_evidence: float = Field(0.0, ge=0)
    present_evidence: float = Field(0.0, ge=0)
    present_share: float = Field(0.05, gt=0, le=1)
    balance: Literal["patient", "none"] = "patient"
    weighted: bool = True


class ClassifierConfig(MapsClassifierConfig):
    """The patch classifier whose logits are the means of its class maps."""

    net: ClassifierNetConfig = ClassifierNetConfig()


class SuppressedClassifierConfig(ClassifierConfig):
    """The patch classifier with region suppression; else as in `ClassifierConfig`."""

    net: SuppressedNetConfig = SuppressedNetConfig()


class HistoSegNetClassifierConfig(MapsClassifierConfig):
    """The patch classifier of HistoSegNet, whose logits come from pooled features."""

    net: HistoSegNetConfig = HistoSegNetConfig()


Look = Callable[[nn.Module, Tensor, Batch], Sequence[tuple[Tensor, Tensor]]]
"""(network, images (B,3,C,C), batch) -> class maps (B,K,h,w) and logits (N,K) of the windows, of
one or more parts of the network, each of which has all losses."""


def plain_look(network: nn.Module, images: Tensor, batch: Batch) -> Sequence[tuple[Tensor, Tensor]]:
    """The class maps and logits that the network yields."""
    return (look(network, images, batch.boxes),)


def classifier_stage(
    config: MapsClassifierConfig, runtime: RuntimeConfig, looks: Look = plain_look
) -> Stage:
    """Make the stage; its artefact holds `model/` and `classification.json`.

    The latter has the figures of patch labels: of the validation split, or of the test split where
    that has no labels. Nothing is chosen by them.

    Args:
        config: its settings.
        runtime: device and processes.
        looks: how training asks the network; follows from `config` alone.

    Raises:
        ConfigError: part of the encoder is to stay as it starts, which is random.
    """
    if config.net.freezes and config.net.weights is None:
        raise ConfigError(
            "classifier.net.frozen without classifier.net.weights",
            expected="weights that are worth keeping: training leaves a part of them as it starts",
            remedy="Give classifier.net.weights, or leave classifier.net.frozen out",
        )
    run = partial(_run, config, runtime, looks)
    files = config.net.files
    return Stage("classifier", config, ("frames",), run, distributed=True, files=files)


def _run(
    config: MapsClassifierConfig, runtime: RuntimeConfig, looks: Look, context: StageContext
) -> None:
    store = FrameStore(context.inputs["frames"])
    classes = context.manifest.classes
    seeded(context.seed, "classifier")
    network = build_network(config.net, len(classes))
    dataset = CropDataset(
        store,
        size=config.crop or usual_window(store, MULTIPLE),
        augment=config.augment,
        seed=context.seed,
        n_classes=len(classes),
        balance=config.balance,
    )
    objective = Objective(config, _frequencies(store) if config.weighted else None, looks)
    records = context.manifest.split("val")
    mpp = store.frames[0].mpp
    exclusive = config.loss == "single-label"

    def score(candidate: nn.Module) -> float:
        model = TissueModel(candidate, config.net, classes, mpp, exclusive=exclusive)
        return mean_precision(model, records)

    trained = fit(
        network,
        objective,
        dataset,
        config.fit,
        runtime,
        context,
        description="training the classifier",
        select=config.fit.select,
        score=score,
    )
    if not is_leader():
        return  # only the first process writes in the artefact
    model = TissueModel(trained, config.net, classes, mpp, exclusive=exclusive)
    keep_model(model, context.out)
    labelled = [r for r in records if r.labels] or [
        r for r in context.manifest.split("test") if r.labels
    ]
    figures = label_scores(model, labelled) if labelled else {}
    (context.out / "classification.json").write_text(json.dumps(figures, indent=2))


def usual_window(store: FrameStore, multiple: int) -> int:
    """Side in pixels that holds 95 of 100 windows, rounded up to a multiple.

    Larger windows are shrunk to it, so that one odd image among many patches does not make every
    crop large.
    """
    boxes = np.concatenate([np.asarray(frame.boxes) for frame in store.frames])
    sides = (boxes[:, 2:] - boxes[:, :2]).max(axis=1)
    usual = np.quantile(sides, 0.95, method="higher")
    return int(np.ceil(usual / multiple)) * multiple


def _frequencies(store: FrameStore) -> Tensor:
    labels = [label for frame in store.frames for label in frame.labels]
    return class_weights(torch.tensor(labels))


class Objective:
    """Losses of one training step.

    Args:
        config: which losses.
        weights: (K,) class weights, or None.
        looks: asks the network for class maps and logits.
    """

    def __init__(
        self, config: MapsClassifierConfig, weights: Tensor | None, looks: Look = plain_look
    ) -> None:
        self.config, self.weights, self.looks = config, weights, looks

    def __call__(self, network: nn.Module, images: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return `loss` and its parts, each the mean over what the network was asked for."""
        scale = 1 / images.shape[2]
        found = [
            self._losses(maps, logits, batch, maps.shape[2] * scale)
            for maps, logits in self.looks(network, images, batch)
        ]
        return {name: torch.stack([f[name] for f in found]).mean() for name in found[0]}

    def _losses(
        self, maps: Tensor, logits: Tensor, batch: Batch, scale: float
    ) -> dict[str, Tensor]:
        config = self.config
        weights = None if self.weights is None else self.weights.to(logits)
        losses = {"classification": self._classification(logits, batch.labels, weights)}
        total = losses["classification"]
        if config.absent_evidence > 0 or config.present_evidence > 0:
            cells = window_cells(maps, batch.boxes, scale)
            losses["absent"] = absent_evidence_loss(cells, batch.labels)
            losses["present"] = present_evidence_loss(cells, batch.labels, config.present_share)
            total = total + config.absent_evidence * losses["absent"]
            total = total + config.present_evidence * losses["present"]
        return {"loss": total, **losses}

    def _classification(self, logits: Tensor, labels: Tensor, weights: Tensor | None) -> Tensor:
        loss = multilabel_loss if self.config.loss == "multilabel" else single_label_loss
        return loss(logits, labels, weights)
