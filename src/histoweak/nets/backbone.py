"""A whole encoder as a function from images to vectors, for training without labels."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from histoweak.nets.encoders import whole_timm
from histoweak.nets.normalise import Normalise
from histoweak.nets.post_norm import PostNormEncoder
from histoweak.nets.resnet38d import ResNet38d
from histoweak.nets.vgg import vgg_features

VGG = {"vgg16": False, "vgg16_bn": True}
POST_NORM = {"x1.7": "x1.7", "histosegnet-vgg16_bn": "vgg16_bn"}
"""Encoders of HistoSegNet; its `vgg16_bn` has other layers than that of the same name above."""


class Backbone(nn.Module):
    """An encoder without its classification head, pooled over the image.

    Args:
        name: a timm architecture; `vgg16` or `vgg16_bn`, of which only the convolutions are taken,
            as class activation maps do; `x1.7` or `histosegnet-vgg16_bn`; `resnet38d`.

    Raises:
        ConfigError: timm knows no such architecture.
        WeightsError: its description must be fetched and cannot be.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.normalise = Normalise()
        # The names of the weights are those that every other network loads them by.
        self.encoder: Any
        if name in VGG:
            self.encoder = nn.ModuleDict({"features": vgg_features(VGG[name], None, 1.0)})
            self.width = 512
        elif name in POST_NORM:
            self.encoder = PostNormEncoder(POST_NORM[name])
            self.width = self.encoder.channels
        elif name == "resnet38d":
            self.encoder = ResNet38d()
            self.width = self.encoder.channels[-1]
        else:
            self.encoder = whole_timm(name, None)
            self.width = int(self.encoder.num_features)

    def forward(self, images: Tensor) -> Tensor:
        """Return one vector (B, width) per image; images (B, 3, H, W) in [0, 1]."""
        normal = self.normalise(images)
        if isinstance(self.encoder, nn.ModuleDict):
            found: Tensor = self.encoder["features"](normal)
        elif isinstance(self.encoder, ResNet38d):
            found = self.encoder(normal)[-1]
        else:
            found = self.encoder(normal)
        return F.adaptive_avg_pool2d(found, 1).flatten(1) if found.ndim == 4 else found
