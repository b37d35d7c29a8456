"""Stage `boundary`: learn from seeds where one class ends and another begins."""

import json
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from histoweak.atomic import atomic_write_text
from histoweak.classes import ClassSet
from histoweak.config import StrictConfig
from histoweak.data.crops import AugmentConfig, Batch, CropDataset
from histoweak.data.frames import FrameStore
from histoweak.errors import ConfigError
from histoweak.inference.model import TissueModel, load_model
from histoweak.nets.boundary import (
    BOUNDARY,
    WITH_DISPLACEMENT,
    BoundaryNet,
    BoundaryNetConfig,
)
from histoweak.nets.cam_classifier import CamClassifier, ClassifierNetConfig
from histoweak.objectives.affinity import (
    affinity_loss,
    displacement_loss,
    nearest_seeds,
    pair_counts,
)
from histoweak.pipeline import Stage, StageContext, is_leader
from histoweak.stages.classifier import MULTIPLE, usual_window
from histoweak.stages.model_folder import keep_model
from histoweak.stages.png_masks import PngMasks
from histoweak.training.config import RuntimeConfig, TrainConfig
from histoweak.training.fit import fit, seeded

SAMPLE = 64
"""Frames on which pairs are counted and the trained network is looked at."""

FAINT = 0.5
"""A boundary map that hardly ever reaches this on the sample stops no walk."""

HARDLY = 0.001
"""Share of a map; single cells are no boundary."""


class BoundaryConfig(StrictConfig):
    """The boundary network and its training.

    `encoder` is `classifier` (that of the classifier, as trained on the patch labels) or `own`
    (the one that `net` names, with its `weights`); it is not trained further. Pairs of pixels
    closer than `radius` pixels of the boundary map are compared. `background` names the class
    whose pairs weigh as much as those of all others together, as in the published system; null
    gives every class the same weight. `displacement` learns displacements too, for instances.
    `crop` is as for the classifier.
    """

    net: BoundaryNetConfig = BoundaryNetConfig()
    encoder: Literal["classifier", "own"] = "classifier"
    fit: TrainConfig = TrainConfig(steps=300)
    augment: AugmentConfig = AugmentConfig()
    crop: int | None = Field(None, ge=MULTIPLE, multiple_of=MULTIPLE)
    radius: int = Field(10, ge=2, le=20)
    background: str | None = None
    displacement: bool = False
    balance: Literal["patient", "none"] = "patient"


def boundary_stage(config: BoundaryConfig, runtime: RuntimeConfig, classes: ClassSet) -> Stage:
    """Make the stage; its artefact holds `model/` and `boundary.json`.

    Raises:
        ConfigError: `background` is none of the classes.
    """
    if config.background not in (None, *classes.names):
        raise ConfigError(
            f"boundary.background = {config.background!r}",
            expected=f"one of {list(classes.names)} or null",
            remedy="Name a class of the data set, or set it to null",
        )
    inputs = ("frames", "classifier", "seeds")
    run = partial(_run, config, runtime)
    return Stage("boundary", config, inputs, run, distributed=True, files=config.net.files)


def _run(config: BoundaryConfig, runtime: RuntimeConfig, context: StageContext) -> None:
    store, classes = FrameStore(context.inputs["frames"]), context.manifest.classes
    seeds = PngMasks(context.inputs["seeds"])
    seeded(context.seed, "boundary")
    net, network = _network(config, load_model(context.inputs["classifier"] / "model"))
    pairs = _count_pairs(config, net, store, seeds, classes)
    _warn_of_missing_pairs(pairs, classes, context)
    dataset = CropDataset(
        store,
        size=config.crop or usual_window(store, MULTIPLE),
        augment=config.augment,
        seed=context.seed,
        n_classes=len(classes),
        balance=config.balance,
        mask_of=seeds,
    )
    background = None if config.background is None else classes.names.index(config.background)
    trained = fit(
        network,
        partial(objective, config.radius, background),
        dataset,
        config.fit,
        runtime,
        context,
        description="learning boundaries",
    )
    if not is_leader():
        return  # only the first process writes in the artefact
    model = TissueModel(trained, net, _channels(config), store.frames[0].mpp)
    strength = _look(model, store, context)
    keep_model(model, context.out)
    figures = {"pairs": {"classes": list(classes.names), "counts": pairs.tolist()}, **strength}
    atomic_write_text(context.out / "boundary.json", json.dumps(figures, indent=2))


def _channels(config: BoundaryConfig) -> ClassSet:
    return ClassSet(WITH_DISPLACEMENT if config.displacement else BOUNDARY)


def _network(
    config: BoundaryConfig, classifier: TissueModel
) -> tuple[BoundaryNetConfig, nn.Module]:
    """The network before training, and its settings with the encoder that it has."""
    net, channels = config.net, len(_channels(config))
    if config.encoder == "own":
        return net, BoundaryNet(net, channels)
    source = classifier.net
    if not isinstance(source, ClassifierNetConfig) or not isinstance(
        classifier.network, CamClassifier
    ):
        raise ConfigError(
            f"a classifier of kind {classifier.kind!r} has no encoder to share",
            remedy="Set boundary.encoder=own and name one in boundary.net.encoder",
        )
    shared: dict[str, Any] = {
        "encoder": source.encoder,
        "weights": None,
        "vgg_width": source.vgg_width,
        "output_stride": source.output_stride,
        "dilated": source.dilated,
    }
    if source.encoder.startswith("vgg"):
        shared["output_stride"] = source.strides[0]
    net = net.model_copy(update=shared)
    network = BoundaryNet(net, channels)
    network.encoder.take(classifier.network.encoder)
    return net, network


def objective(
    radius: int, background: int | None, network: nn.Module, images: Tensor, batch: Batch
) -> dict[str, Tensor]:
    """Losses of one training step; `batch.masks` holds the seeds."""
    if batch.masks is None:
        raise RuntimeError("crops came without seeds")
    out = network(images)
    seeds = nearest_seeds(batch.masks, (out.shape[-2], out.shape[-1]))
    losses = affinity_loss(out[:, 0].sigmoid(), seeds, radius, background)
    if out.shape[1] > 1:
        losses |= displacement_loss(out[:, 1:], seeds, radius, background)
    return {"loss": losses["affinity"] + losses.get("displacement", 0.0), **losses}


def _sample(store: FrameStore) -> Sequence[int]:
    """Indices of at most `SAMPLE` frames, evenly spread."""
    count = min(SAMPLE, len(store))
    return [int(i) for i in np.linspace(0, len(store) - 1, count).round()]


def _count_pairs(
    config: BoundaryConfig,
    net: BoundaryNetConfig,
    store: FrameStore,
    seeds: PngMasks,
    classes: ClassSet,
) -> Tensor:
    """(K, K) pairs of seeds on the sample."""
    total = torch.zeros(len(classes), len(classes), dtype=torch.int64)
    for index in _sample(store):
        whole = torch.from_numpy(np.array(seeds(index)))[None]
        size = (max(1, whole.shape[1] // net.strides[0]), max(1, whole.shape[2] // net.strides[0]))
        total += pair_counts(nearest_seeds(whole, size), config.radius, len(classes))
    return total


def _warn_of_missing_pairs(pairs: Tensor, classes: ClassSet, context: StageContext) -> None:
    apart = pairs - torch.diag(pairs.diagonal())
    lonely = [n for n, others in zip(classes.names, apart.sum(dim=1), strict=True) if not others]
    if lonely and is_leader():
        context.progress.say(
            f"warning: no seed of {', '.join(lonely)} lies near one of another class, so nothing "
            "shows the network where it ends; frames of several patches (frames.assemble) or "
            "patches of several classes would"
        )


def _look(model: TissueModel, store: FrameStore, context: StageContext) -> dict[str, Any]:
    """How strong the boundaries of the sample are; sets the mean displacement, if there is one."""
    maps = [model.maps(store.image(index), tile=512) for index in _sample(store)]
    strength = np.concatenate([1 / (1 + np.exp(-m[0].ravel())) for m in maps])
    branch = getattr(model.network, "displacement", None)
    if branch is not None:
        fields = np.concatenate([m[1:].reshape(2, -1) for m in maps], axis=1)
        branch.mean.copy_(torch.from_numpy(fields.mean(axis=1)))
    share = float((strength > FAINT).mean())
    collapsed = share < HARDLY
    if collapsed:
        context.progress.say(
            f"warning: of the boundary map {share:.2%} lies above {FAINT}: the walk will not be "
            "stopped; see boundary.json for the pairs that it was learned from"
        )
    return {
        "mean": float(strength.mean()),
        "share_above_half": share,
        "collapsed": collapsed,
    }
