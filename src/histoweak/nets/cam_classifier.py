"""A classifier whose class scores are the means of its class maps.

Zhou et al. (CVPR 2016), equation 2: with global average pooling before a linear layer,
`logit_c = mean_xy M_c(x, y) + b_c` with `M_c(x, y) = sum_k w_ck f_k(x, y)`. Applying the linear
layer as a 1x1 convolution *before* pooling yields the maps and, by their mean, the same logits:
one pass gives both.
"""

from typing import Literal, Self

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from histoweak.nets.config import MapsNetConfig
from histoweak.nets.encoders import Encoder
from histoweak.nets.freezing import fix_norm, freeze_stages
from histoweak.nets.normalise import Normalise
from histoweak.nets.vgg import VGG_HEAD, VggCamEncoder


class ClassifierNetConfig(MapsNetConfig):
    """The classification network.

    `encoder` is `vgg16`, `vgg16_bn` or any timm architecture. VGG-16 yields one map at the first
    of `strides` (8 or 16); a timm encoder yields one per stride, which are projected to `width`
    channels, added at the finest stride and mixed by a 3x3 convolution. `vgg_head` holds the
    channels of the 3x3 convolutions behind VGG's conv5_3. A timm encoder goes no coarser than
    `output_stride`, with `dilated` filters or without; null: as it is.

    Training leaves the stages of the encoder up to the reduction `frozen` as they are, and with
    `fixed_norm` batch normalisation keeps to the statistics that it began with: both are for
    pretrained weights. `bias` gives every class map a constant to add.
    """

    encoder: str = "vgg16"
    width: int = Field(128, ge=8)
    vgg_width: float = Field(1.0, gt=0, le=1)
    vgg_head: tuple[int, ...] = Field(VGG_HEAD, min_length=1)
    head: Literal["fused", "linear"] = "linear"
    output_stride: int | None = Field(None, ge=8, le=32)
    dilated: bool = True
    frozen: int | None = Field(None, ge=1)
    fixed_norm: bool = False
    bias: bool = True

    @property
    def freezes(self) -> bool:
        """Whether training leaves convolutions of the encoder as they start."""
        return self.frozen is not None


class CamClassifier(nn.Module):
    """Encoder, 1x1 class head, and class maps in place of pooled scores.

    Args:
        config: which network.
        n_classes: K.
    """

    def __init__(self, config: ClassifierNetConfig, n_classes: int) -> None:
        super().__init__()
        self.normalise = Normalise()
        self.encoder = build_encoder(config)
        self.fuse, channels = join_maps(self.encoder.channels, config.head, config.width)
        self.head = nn.Conv2d(channels, n_classes, 1, bias=config.bias)
        self.fixed_norm = config.fixed_norm
        if config.frozen is not None:
            freeze_stages(self.encoder, config.frozen)

    def train(self, mode: bool = True) -> Self:
        """Set training mode; fixed normalisation stays out of it."""
        super().train(mode)
        if self.fixed_norm:
            fix_norm(self)
        return self

    def features(self, images: Tensor) -> Tensor:
        """Return the map (B, C, h, w) that the class head reads; images as in `forward`."""
        fused: Tensor = self.fuse(self.encoder(self.normalise(images)))
        return fused

    def forward(self, images: Tensor) -> Tensor:
        """Return class maps (B, K, h, w), unbounded; images (B, 3, H, W) in [0, 1]."""
        maps: Tensor = self.head(self.features(images))
        return maps


def build_encoder(config: ClassifierNetConfig) -> Encoder | VggCamEncoder:
    """Build the encoder that a configuration names."""
    if config.encoder in ("vgg16", "vgg16_bn"):
        batch_norm = config.encoder == "vgg16_bn"
        return VggCamEncoder(
            config.strides[0], batch_norm, config.weights, config.vgg_width, config.vgg_head
        )
    return Encoder(
        config.encoder, config.strides, config.weights, config.output_stride, config.dilated
    )


def join_maps(
    channels: tuple[int, ...], head: Literal["fused", "linear"], width: int
) -> tuple[nn.Module, int]:
    """What makes one map of those of several strides, and the channels of that map.

    Args:
        channels: of the maps, the finest first.
        head: `linear` puts them side by side, `fused` projects, adds and mixes them.
        width: channels after `fused`.
    """
    if head == "linear":
        return _Concatenate(), sum(channels)
    return Fuse(channels, width), width


def to_finest(maps: list[Tensor]) -> list[Tensor]:
    """Enlarge maps (B, C, h, w) bilinearly to the size of the first, the finest."""
    size = maps[0].shape[-2:]
    return [
        m if m.shape[-2:] == size else F.interpolate(m, size, mode="bilinear", align_corners=False)
        for m in maps
    ]


class _Concatenate(nn.Module):
    """Maps of all strides side by side at the finest one: the head stays linear in each."""

    def forward(self, maps: list[Tensor]) -> Tensor:
        if len(maps) == 1:
            return maps[0]
        return torch.cat(to_finest(maps), dim=1)


class Fuse(nn.Module):
    """Project, add and mix maps of several strides."""

    def __init__(self, channels: tuple[int, ...], width: int) -> None:
        super().__init__()
        self.project = nn.ModuleList(nn.Conv2d(c, width, 1) for c in channels)
        self.mix = nn.Sequential(
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        )

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Return one map (B, width, h, w) at the finest stride."""
        # Projecting first and resizing after costs the fewest channels to resize.
        projected = [p(m) for p, m in zip(self.project, maps, strict=True)]
        total: Tensor = self.mix(sum(to_finest(projected)))
        return total
