"""Stage `classifier` of CAMEL: instances on which label and classifiers agreed are learned anew.

Xu et al. (ICCV 2019), section 3.2: ordinary supervised training on the instance data set, with
the image-level constraint that the instance which looks most like a class answers for the label
of its image.
"""

from functools import partial
from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from histoweak.config import StrictConfig
from histoweak.data.crops import AugmentConfig, Batch, CropDataset, collate
from histoweak.data.frames import FrameStore
from histoweak.data.instances import INSTANCES, InstanceStore, cut
from histoweak.data.stain import jitter_stain
from histoweak.inference.model import TissueModel
from histoweak.nets.instances import InstanceNet, InstanceNetConfig
from histoweak.objectives.mil import known_loss
from histoweak.pipeline import Stage, StageContext, is_leader
from histoweak.stages.classifier import MULTIPLE, usual_window
from histoweak.stages.cmil import FIRST, BagConfig, Bags, Round, label_weights
from histoweak.stages.labels import mean_precision
from histoweak.stages.model_folder import keep_model
from histoweak.training.config import FitConfig, RuntimeConfig
from histoweak.training.fit import fit, seeded


class InstanceClassifierConfig(StrictConfig):
    """Training on the instance data set.

    `image_level` weighs the image-level constraint, for which `bag_batch` patches are drawn at
    every step; 0 leaves it out. `weighted` weighs the classes of that constraint inversely to how
    many patches name them; the instances themselves all weigh the same.
    """

    image_level: float = Field(0.5, ge=0)
    bag_batch: int = Field(4, ge=1)
    fit: FitConfig = FitConfig(batch=32)
    augment: AugmentConfig = AugmentConfig()
    balance: Literal["patient", "none"] = "patient"
    weighted: bool = True


class _Setting(StrictConfig):
    """All that decides the weights."""

    classifier: InstanceClassifierConfig
    net: InstanceNetConfig
    bags: BagConfig


def instance_classifier_stage(
    config: InstanceClassifierConfig,
    net: InstanceNetConfig,
    bags: BagConfig,
    runtime: RuntimeConfig,
    round_: Round = FIRST,
) -> Stage:
    """Make the stage; its artefact holds `model/`."""
    setting = _Setting(classifier=config, net=net, bags=bags)
    instances = round_.name("instances")
    run = partial(_run, setting, runtime, instances)
    inputs, name = ("frames", instances), round_.name("classifier")
    return Stage(name, setting, inputs, run, version=2, distributed=True, files=net.files)


def _run(setting: _Setting, runtime: RuntimeConfig, chosen: str, context: StageContext) -> None:
    config, net = setting.classifier, setting.net
    windows = FrameStore(context.inputs["frames"])
    instances = InstanceStore(context.inputs["frames"], context.inputs[chosen] / INSTANCES)
    classes = context.manifest.classes
    seeded(context.seed, "instance classifier")
    network = InstanceNet(net, len(classes))
    dataset = _crops(setting, instances, -(-net.side // MULTIPLE) * MULTIPLE, context)
    size = setting.bags.crop or usual_window(windows, MULTIPLE)
    bag_dataset = _crops(setting, windows, size, context)
    bags, own = Bags(setting.bags, net.side), network.answering
    weights = label_weights(windows, own) if config.weighted else None

    def objective(network: nn.Module, images: Tensor, batch: Batch) -> dict[str, Tensor]:
        assert isinstance(network, InstanceNet)  # noqa: S101 - for type checkers
        logits = network.classify(cut(images, batch.boxes, network.side))
        losses = {"instances": known_loss(logits[:, own], batch.labels[:, own])}
        losses["loss"] = losses["instances"]
        if config.image_level > 0:
            bag = collate([bag_dataset[batch.step, slot] for slot in range(config.bag_batch)])
            bag = bag.to(images.device)
            seen = jitter_stain(bag.images.float() / 255, bag.stain)
            losses["images"] = bags.loss(network, seen, bag, "max-max", weights)
            losses["loss"] = losses["loss"] + config.image_level * losses["images"]
        return losses

    mpp, records = windows.frames[0].mpp, context.manifest.split("val")

    def score(candidate: nn.Module) -> float:
        return mean_precision(TissueModel(candidate, net, classes, mpp), records)

    trained = fit(
        network,
        objective,
        dataset,
        config.fit,
        runtime,
        context,
        description="training on agreed instances",
        select=config.fit.select,
        score=score,
    )
    if is_leader():
        keep_model(TissueModel(trained, net, classes, mpp), context.out)


def _crops(setting: _Setting, store: FrameStore, size: int, context: StageContext) -> CropDataset:
    return CropDataset(
        store,
        size=size,
        augment=setting.classifier.augment,
        seed=context.seed,
        n_classes=len(context.manifest.classes),
        balance=setting.classifier.balance,
    )
