"""A whole encoder as a function from images to vectors, for training without labels."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from histoweak.nets.encoders import whole_timm
from histoweak.nets.normalise import Normalise
from histoweak.nets.vgg import vgg_features

VGG = {"vgg16": False, "vgg16_bn": True}


class Backbone(nn.Module):
    """A timm network without its classification head, pooled over the image.

    Args:
        name: a timm architecture; of `vgg16` and `vgg16_bn` only the convolutions are taken, as
            class activation maps do.

    Raises:
        ConfigError: timm knows no such architecture.
        WeightsError: its description must be fetched and cannot be.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.normalise = Normalise()
        # The names of the weights are those of timm, so that every other network can load them.
        self.encoder: Any
        if name in VGG:
            self.encoder = nn.ModuleDict({"features": vgg_features(VGG[name], None, 1.0)})
        else:
            self.encoder = whole_timm(name, None)
        self.width = 512 if name in VGG else int(self.encoder.num_features)

    def forward(self, images: Tensor) -> Tensor:
        """Return one vector (B, width) per image; images (B, 3, H, W) in [0, 1]."""
        normal = self.normalise(images)
        if isinstance(self.encoder, nn.ModuleDict):
            return F.adaptive_avg_pool2d(self.encoder["features"](normal), 1).flatten(1)
        vectors: Tensor = self.encoder(normal)
        return vectors
