"""Stage `pretrain`: an encoder learns from patches without labels, by agreeing on two views."""

import json
import math
from functools import partial
from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from safetensors.torch import save_file
from torch import Tensor, nn

from histoweak.atomic import atomic_path, atomic_write_text
from histoweak.config import StrictConfig
from histoweak.data.crops import AugmentConfig, Batch, CropDataset
from histoweak.data.frames import FrameStore
from histoweak.data.views import ViewConfig, piece_side, random_view
from histoweak.nets.backbone import Backbone
from histoweak.objectives.agreement import Agreement, agreement_loss, projection_head
from histoweak.pipeline import Stage, StageContext, is_leader
from histoweak.stages.classifier import MULTIPLE
from histoweak.training.config import RuntimeConfig, TrainConfig
from histoweak.training.fit import fit, seeded

ENCODER = "encoder.safetensors"
STILL = AugmentConfig(flips=False, rotations=False, scale=0, stain=0, stain_shift=0)
"""Crops as they are: the views bring all variation."""


class PretrainConfig(StrictConfig):
    """Training without labels.

    `encoder` is a timm architecture, `vgg16`, `vgg16_bn`, `resnet38d`, or one of HistoSegNet's:
    `x1.7`, `histosegnet-vgg16_bn`. `loss` says how two views agree. `crop` is the side in pixels of
    the pieces that views are drawn from, cut out of larger images; null takes one at which views
    show tissue at about its own scale. `hidden` and `out` are the widths of the projection head,
    which is thrown away in the end.
    """

    encoder: str = "resnet18"
    loss: Agreement = "vicreg"
    crop: int | None = Field(None, ge=MULTIPLE, multiple_of=MULTIPLE)
    views: ViewConfig = ViewConfig()
    hidden: int = Field(1024, ge=8)
    out: int = Field(1024, ge=8)
    balance: Literal["patient", "none"] = "patient"
    fit: TrainConfig = TrainConfig(steps=2000, batch=64)

    @model_validator(mode="after")
    def _several(self) -> Self:
        if self.fit.batch < 2:
            raise ValueError("fit.batch = 1: patches are told from others of the same step")
        return self


def pretrain_stage(config: PretrainConfig, runtime: RuntimeConfig) -> Stage:
    """Make the stage; its artefact holds `encoder.safetensors` and `encoder.json`."""
    run = partial(_run, config, runtime)
    return Stage("pretrain", config, ("frames",), run, distributed=True, version=2)


class _Network(nn.Module):
    """Encoder and projection head."""

    def __init__(self, config: PretrainConfig) -> None:
        super().__init__()
        self.backbone = Backbone(config.encoder)
        width = self.backbone.width
        self.head = projection_head(config.loss, width, config.hidden, config.out)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors of the encoder (B, width) and of the head (B, out)."""
        vectors = self.backbone(images)
        return vectors, self.head(vectors)


def _run(config: PretrainConfig, runtime: RuntimeConfig, context: StageContext) -> None:
    store = FrameStore(context.inputs["frames"])
    seeded(context.seed, "pretrain")
    network = _Network(config)
    dataset = CropDataset(
        store,
        size=config.crop or piece_side(config.views),
        augment=STILL,
        seed=context.seed,
        n_classes=len(context.manifest.classes),
        balance=config.balance,
        pieces=True,
    )
    loss = agreement_loss(config.loss)

    def objective(network: nn.Module, images: Tensor, batch: Batch) -> dict[str, Tensor]:
        vectors, first = network(random_view(images, config.views))
        _, second = network(random_view(images, config.views))
        return {"loss": loss(first, second), "spread": spread(vectors)}

    trained = fit(
        network,
        objective,
        dataset,
        config.fit,
        runtime,
        context,
        description="training without labels",
    )
    if not is_leader():
        return  # only the first process writes in the artefact
    backbone = trained.get_submodule("backbone.encoder")
    with atomic_path(context.out / ENCODER) as path:
        save_file({k: v.contiguous() for k, v in backbone.state_dict().items()}, path)
    about = {"encoder": config.encoder, "mpp": store.frames[0].mpp, "loss": config.loss}
    atomic_write_text(context.out / "encoder.json", json.dumps(about, indent=2))


def spread(vectors: Tensor) -> Tensor:
    """How differently images are described: 1 for directions at random, 0 after a collapse.

    Chen & He (CVPR 2021), "Exploring simple Siamese representation learning", section 4.1: the
    standard deviation of normalised vectors, times the root of their width.

    Args:
        vectors: (B, D).
    """
    with torch.no_grad():
        normal: Tensor = nn.functional.normalize(vectors, dim=1)
        return normal.std(dim=0).mean() * math.sqrt(vectors.shape[1])
