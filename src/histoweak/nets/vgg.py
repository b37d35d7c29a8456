"""VGG-16 in the form that class activation maps need: no fully connected layers.

Sources: Simonyan & Zisserman (ICLR 2015), configuration D; Zhou et al., "Learning deep features
for discriminative localization" (CVPR 2016), section 2: pool5 and the fully connected layers are
replaced by one 3x3 convolution to 1024 channels. The stride-8 form sets pool4 to stride 1 and
dilates conv5 by 2, which keeps the field of view of pretrained filters.
"""

from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import timm
from torch import Tensor, nn

from histoweak.errors import ConfigError, WeightsError
from histoweak.nets.weights import load_into

VGG_HEAD = (1024,)
BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))


class VggCamEncoder(nn.Module):
    """conv1_1 to conv5_3 of VGG-16, then 3x3 convolutions with ReLU: one, to 1024 channels.

    At 224 px the map is 14 x 14 (stride 16) or 28 x 28 (stride 8).

    Args:
        stride: 16 or 8.
        batch_norm: VGG-16-BN in place of the plain network; trains from scratch far more easily.
        weights: as in `Encoder`; a file holds the names of timm's vgg16 or vgg16_bn.
        width: multiplies every channel count; 1.0 is the published network.
        head: channels of each 3x3 convolution behind conv5_3.

    Raises:
        ConfigError: a stride other than 8 or 16, or weights together with another width.
        WeightsError: the weights cannot be had or do not fit.
    """

    def __init__(
        self,
        stride: int = 16,
        batch_norm: bool = False,
        weights: str | None = None,
        width: float = 1.0,
        head: tuple[int, ...] = VGG_HEAD,
    ) -> None:
        super().__init__()
        if stride not in (8, 16):
            raise ConfigError(f"stride {stride}", expected="8 or 16", remedy="Choose one of them")
        if weights is not None and width != 1.0:
            raise ConfigError(
                f"weights together with width {width}",
                expected="width 1.0 when starting from weights",
                remedy="Leave one of the two out",
            )
        self.features = vgg_features(batch_norm, weights, width)
        if stride == 8:
            _keep_resolution(self.features)
        last = [m for m in self.features if isinstance(m, nn.Conv2d)][-1].out_channels
        widths = [last, *(max(8, round(channels * width)) for channels in head)]
        self.head = nn.Sequential()
        for before, after in pairwise(widths):
            self.head.extend([nn.Conv2d(before, after, 3, padding=1), nn.ReLU()])
        self.channels = (widths[-1],)
        self.strides = (stride,)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return one map (B, channels, H/stride, W/stride)."""
        return [self.head(self.features(images))]


def vgg_features(batch_norm: bool, weights: str | None, width: float) -> nn.Sequential:
    """The convolutional part up to conv5_3 and its ReLU; pool5 is left out."""
    # The positions of the layers are those of torchvision and timm, so their weights fit.
    whole = nn.ModuleDict({"features": _convolutions(batch_norm, width)})
    name = "vgg16_bn" if batch_norm else "vgg16"
    if weights == "pretrained":
        try:
            source = timm.create_model(name, pretrained=True)
        except Exception as error:  # the hub raises many kinds; each means the same here
            raise WeightsError(
                f"pretrained weights of {name!r} cannot be fetched ({error})",
                remedy="Give a local safetensors file, or train from scratch with weights=null",
            ) from error
        features: Any = source.features
        whole["features"].load_state_dict(features.state_dict())
    elif weights is not None:
        load_into(whole, Path(weights), drop=("pre_logits.", "head.", "classifier."))
    return cast(nn.Sequential, whole["features"])


def _convolutions(batch_norm: bool, width: float) -> nn.Sequential:
    layers: list[nn.Module] = []
    previous = 3
    for block, (channels, convolutions) in enumerate(BLOCKS):
        for _ in range(convolutions):
            out = max(8, round(channels * width))
            layers.append(nn.Conv2d(previous, out, 3, padding=1))
            if batch_norm:
                layers.append(nn.BatchNorm2d(out))
            layers.append(nn.ReLU(inplace=True))
            previous = out
        if block < len(BLOCKS) - 1:
            layers.append(nn.MaxPool2d(2, 2))
    return nn.Sequential(*layers)


def _keep_resolution(features: nn.Sequential) -> None:
    """Give pool4 stride 1 and dilate the convolutions behind it, in place."""
    pools = [i for i, module in enumerate(features) if isinstance(module, nn.MaxPool2d)]
    features[pools[3]] = nn.MaxPool2d(3, stride=1, padding=1)
    for module in features[pools[3] + 1 :]:
        if isinstance(module, nn.Conv2d):
            module.dilation, module.padding = (2, 2), (2, 2)
