"""ResNet38-d, the wide pre-activation network of multi-layer pseudo-supervision.

Wu, Shen & van den Hengel, "Wider or Deeper: Revisiting the ResNet Model for Visual Recognition"
(Pattern Recognition 2019), model A1; in the stride-8 form that Han et al. (Medical Image Analysis
2022) take their class activation maps from: the last three stages dilate in place of striding.
105.0 million convolution weights and 99.8 billion multiplications for a patch of 224 px.
"""

from pathlib import Path

import torch.nn.functional as F
from torch import Tensor, nn

from histoweak.errors import ConfigError
from histoweak.nets.weights import load_into

STRIDE = 8
TAPS = ("b4_5", "b5_2", "bn7")
"""Where class activation maps are taken: behind stages 4 and 5, and behind the last ReLU."""

# stage: (blocks, channels between the two convolutions, channels out, stride, dilation)
_PLAIN = {
    2: (3, 128, 128, 2, 1),
    3: (3, 256, 256, 2, 1),
    4: (6, 512, 512, 2, 1),
    5: (3, 512, 1024, 1, 2),
}
# stage: (channels out, dropout); 1x1, 3x3 and 1x1 convolutions with a quarter, half and all of them
_BOTTLENECK = {6: (2048, 0.3), 7: (4096, 0.5)}


class PlainBlock(nn.Module):
    """Two 3x3 convolutions, each behind batch normalisation and ReLU, around a shortcut.

    Where the shape changes, the shortcut is a 1x1 convolution of the *activated* input.

    Args:
        before: channels of the input.
        between: channels between the two convolutions.
        after: channels of the output.
        stride: of the first convolution and the shortcut.
        dilation: of the two convolutions.
    """

    def __init__(
        self, before: int, between: int, after: int, stride: int, dilation: tuple[int, int]
    ) -> None:
        super().__init__()
        first, second = dilation
        self.bn_branch2a = nn.BatchNorm2d(before)
        self.conv_branch2a = _conv(before, between, 3, stride, first)
        self.bn_branch2b1 = nn.BatchNorm2d(between)
        self.conv_branch2b1 = _conv(between, after, 3, 1, second)
        if before != after or stride != 1:
            self.conv_branch1 = _conv(before, after, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, after, H / stride, W / stride); x (B, before, H, W)."""
        active = F.relu(self.bn_branch2a(x))
        shortcut = self.conv_branch1(active) if hasattr(self, "conv_branch1") else x
        inner = F.relu(self.bn_branch2b1(self.conv_branch2a(active)))
        total: Tensor = self.conv_branch2b1(inner) + shortcut
        return total


class Bottleneck(nn.Module):
    """1x1, dilated 3x3 and 1x1 convolution, with dropout of channels before the last two.

    Args:
        before: channels of the input.
        after: channels of the output; a quarter and half of them lie between.
        dropout: share of channels that are dropped in training.
    """

    def __init__(self, before: int, after: int, dropout: float) -> None:
        super().__init__()
        quarter, half = max(1, after // 4), max(1, after // 2)
        self.conv_branch1 = _conv(before, after, 1)
        self.bn_branch2a = nn.BatchNorm2d(before)
        self.conv_branch2a = _conv(before, quarter, 1)
        self.bn_branch2b1 = nn.BatchNorm2d(quarter)
        self.conv_branch2b1 = _conv(quarter, half, 3, 1, 4)
        self.bn_branch2b2 = nn.BatchNorm2d(half)
        self.conv_branch2b2 = _conv(half, after, 1)
        self.dropout = nn.Dropout2d(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, after, H, W); x (B, before, H, W)."""
        active = F.relu(self.bn_branch2a(x))
        inner = self.dropout(F.relu(self.bn_branch2b1(self.conv_branch2a(active))))
        inner = self.dropout(F.relu(self.bn_branch2b2(self.conv_branch2b1(inner))))
        total: Tensor = self.conv_branch2b2(inner) + self.conv_branch1(active)
        return total


class ResNet38d(nn.Module):
    """The network without its class head; modules are named as in the published weights.

    Args:
        width: multiplies every channel count; 1.0 is the published network.
        weights: None starts from scratch; else a safetensors file, which `histoweak convert
            resnet38d` makes of the published one.

    Raises:
        ConfigError: weights together with another width, or weights that are fetched by name.
        WeightsError: the weights cannot be read or do not fit.
    """

    strides = (STRIDE,)

    def __init__(self, width: float = 1.0, weights: str | None = None) -> None:
        super().__init__()
        _refuse(width, weights)

        def wide(channels: int) -> int:
            return max(8, round(channels * width))

        previous = wide(64)
        self.conv1a = _conv(3, previous, 3)
        for stage, (blocks, between, after, stride, dilation) in _PLAIN.items():
            for block in range(blocks):
                # The first convolution of a dilated stage still sees its input undilated.
                first = 1 if block == 0 else dilation
                step = stride if block == 0 else 1
                module = PlainBlock(previous, wide(between), wide(after), step, (first, dilation))
                self.add_module(f"b{stage}" + (f"_{block}" if block else ""), module)
                previous = wide(after)
        for stage, (after, dropout) in _BOTTLENECK.items():
            self.add_module(f"b{stage}", Bottleneck(previous, wide(after), dropout))
            previous = wide(after)
        self.bn7 = nn.BatchNorm2d(previous)
        self.channels = (wide(512), wide(1024), previous)
        if weights is not None:
            load_into(self, Path(weights))

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the maps at `TAPS`, each (B, C, H / 8, W / 8); images (B, 3, H, W)."""
        taps, x = [], images
        for name, module in self.named_children():
            x = module(x)
            if name in TAPS:
                taps.append(F.relu(x) if name == "bn7" else x)
        return taps

    def stem(self) -> list[nn.Module]:
        """Modules that the published training leaves as they were: conv1a and stage 2."""
        return [m for n, m in self.named_children() if n == "conv1a" or n.startswith("b2")]


def _refuse(width: float, weights: str | None) -> None:
    if weights is not None and width != 1.0:
        raise ConfigError(
            f"weights together with width {width}",
            expected="width 1.0 when starting from weights",
            remedy="Leave one of the two out",
        )
    if weights == "pretrained":
        raise ConfigError(
            "weights 'pretrained' of resnet38d",
            expected="a local .safetensors file: no registry holds them",
            remedy="Convert the published file once with `histoweak convert resnet38d FILE OUT`",
        )


def _conv(before: int, after: int, size: int, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    padding = dilation * (size // 2)
    return nn.Conv2d(before, after, size, stride, padding, dilation, bias=False)
