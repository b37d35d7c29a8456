"""Discriminative region suppression as a layer, and where networks carry it.

Kim, Han & Kim (AAAI 2021, arXiv 2103.07246) put it in place of every ReLU of VGG-16, 13 in the
backbone and 3 in the head. In networks with skips that does not work as published: there the
layer stands where a stage of the encoder ends.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from histoweak.cams.region_suppression import suppress
from histoweak.config import StrictConfig
from histoweak.nets.cam_classifier import CamClassifier, ClassifierNetConfig, Fuse
from histoweak.nets.vgg import VggCamEncoder


class SuppressionConfig(StrictConfig):
    """How far a channel may stand out; see `histoweak.cams.region_suppression`.

    `kind` is `learnable` (a ratio for each channel and image, from a controller) or `fixed` (the
    same `ratio` for all). `quantile` of a channel's values is its peak: 1 takes the largest one, as
    published, less than 1 makes a pen mark or speck of pigment count as little as its area.
    """

    kind: Literal["learnable", "fixed"] = "learnable"
    ratio: float = Field(0.55, gt=0)
    quantile: float = Field(0.995, gt=0, le=1)


class RegionSuppression(nn.Module):
    """`suppress` as a layer.

    Args:
        channels: C.
        config: which form.
        rectify: False leaves negative values, for maps that no ReLU made.
    """

    def __init__(self, channels: int, config: SuppressionConfig, rectify: bool = True) -> None:
        super().__init__()
        self.config, self.rectify = config, rectify
        if config.kind == "learnable":
            # Ratios begin near one half, wherever the means lie.
            self.controller = nn.Parameter(torch.empty(channels, channels).normal_(std=0.01))

    def forward(self, maps: Tensor) -> Tensor:
        """Return the clipped maps (B, C, h, w)."""
        config = self.config
        control = self.controller if config.kind == "learnable" else config.ratio
        return suppress(maps, control, config.quantile, self.rectify)


def replace_relus(chain: nn.Sequential, config: SuppressionConfig) -> None:
    """Put `RegionSuppression` in place of each ReLU of a chain of layers, in place."""
    channels = 0
    for index, layer in enumerate(chain):
        if isinstance(layer, nn.Conv2d):
            channels = layer.out_channels
        elif isinstance(layer, nn.BatchNorm2d):
            channels = layer.num_features
        elif isinstance(layer, nn.ReLU):
            chain[index] = RegionSuppression(channels, config)


class SuppressedNetConfig(ClassifierNetConfig):
    """The classification network with `suppression`; null leaves it out.

    With VGG-16 it stands in place of every ReLU, with other encoders where the stages named by
    `strides` end; with `head: fused` also in place of the ReLUs there.
    """

    strides: tuple[int, ...] = Field((8,), min_length=1)
    vgg_head: tuple[int, ...] = Field((512, 512, 512), min_length=1)
    suppression: SuppressionConfig | None = SuppressionConfig()


class SuppressedClassifier(CamClassifier):
    """`CamClassifier` with region suppression; all other layers keep their names.

    Args:
        config: which network.
        n_classes: K.
    """

    def __init__(self, config: SuppressedNetConfig, n_classes: int) -> None:
        super().__init__(config, n_classes)
        self.ends: nn.ModuleList | None = None
        suppression = config.suppression
        if suppression is None:
            return
        if isinstance(self.fuse, Fuse):
            replace_relus(self.fuse.mix, suppression)
        if isinstance(self.encoder, VggCamEncoder):
            replace_relus(self.encoder.features, suppression)
            replace_relus(self.encoder.head, suppression)
        else:
            # Stages of many encoders end without a ReLU, and what is negative there has a meaning.
            self.ends = nn.ModuleList(
                RegionSuppression(channels, suppression, rectify=False)
                for channels in self.encoder.channels
            )

    def features(self, images: Tensor) -> Tensor:
        """Return the map (B, C, h, w) that the class head reads; images as in `forward`."""
        if self.ends is None:
            return super().features(images)
        maps = self.encoder(self.normalise(images))
        fused: Tensor = self.fuse([end(m) for end, m in zip(self.ends, maps, strict=True)])
        return fused
