"""A network that finds where one tissue ends and another begins, whatever the two are.

Ahn, Cho and Kwak (CVPR 2019), section 4.1 and figure 2: every stage of a frozen encoder is brought
to a few channels and to one size, and a 1x1 convolution over all of them yields the boundary. A
second branch, for instances, yields a displacement towards the centre of the object.
"""

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from histoweak.nets.config import MapsNetConfig
from histoweak.nets.normalise import Normalise
from histoweak.nets.taps import Taps

BOUNDARY = ("boundary",)
WITH_DISPLACEMENT = ("boundary", "down", "right")
"""What the channels of the output stand for."""


class BoundaryNetConfig(MapsNetConfig):
    """The boundary network.

    `encoder` is `vgg16`, `vgg16_bn` or any timm architecture, of which the finest `stages` are
    read; `weights`, `output_stride` and `dilated` are as for classifiers. Each stage is brought to
    `width` channels at the first of `strides`, the resolution of the output; the last of `strides`
    is what sides of images are rounded up to.
    """

    strides: tuple[int, ...] = Field((4, 32), min_length=1)
    encoder: str = "resnet18"
    stages: int = Field(5, ge=2)
    output_stride: int | None = Field(None, ge=8, le=32)
    dilated: bool = True
    vgg_width: float = Field(1.0, gt=0, le=1)
    width: int = Field(32, ge=8, multiple_of=8)


class BoundaryNet(nn.Module):
    """Boundary and, for 3 channels, displacement.

    Args:
        config: which network.
        n_classes: 1 (boundary) or 3 (boundary, rows down and columns to the right).
    """

    def __init__(self, config: BoundaryNetConfig, n_classes: int = 1) -> None:
        super().__init__()
        self.stride = config.strides[0]
        self.normalise = Normalise()
        self.encoder = Taps(
            config.encoder,
            config.weights,
            config.output_stride,
            config.dilated,
            vgg_width=config.vgg_width,
            stages=config.stages,
        )
        channels = self.encoder.channels
        self.reduce = nn.ModuleList(_reduced(c, config.width, 4) for c in channels)
        self.boundary = nn.Conv2d(config.width * len(channels), 1, 1)
        self.displacement = _Displacement(channels, config.width) if n_classes > 1 else None

    def forward(self, images: Tensor) -> Tensor:
        """Return the boundary as logits, then the displacement in pixels of the map, if any.

        Args:
            images: (B, 3, H, W) in [0, 1].

        Returns:
            (B, 1 or 3, H / stride, W / stride).
        """
        size = (images.shape[-2] // self.stride, images.shape[-1] // self.stride)
        taps = [_pooled(tap, size) for tap in self.encoder(self.normalise(images))]
        reduced = [
            F.relu(_to_size(reduce(tap), size))
            for reduce, tap in zip(self.reduce, taps, strict=True)
        ]
        boundary: Tensor = self.boundary(torch.cat(reduced, dim=1))
        if self.displacement is None:
            return boundary
        return torch.cat([boundary, self.displacement(taps, size)], dim=1)


def _reduced(channels: int, width: int, groups: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, width, 1, bias=False), nn.GroupNorm(groups, width))


def _pooled(tap: Tensor, size: tuple[int, int]) -> Tensor:
    """Stages finer than the output are pooled, as a ResNet pools its stem."""
    while tap.shape[-2] > size[0]:
        tap = F.max_pool2d(tap, 3, stride=2, padding=1)
    return tap


def _to_size(tap: Tensor, size: tuple[int, int]) -> Tensor:
    if tap.shape[-2:] == size:
        return tap
    return F.interpolate(tap, size, mode="bilinear", align_corners=False)


class _Displacement(nn.Module):
    """The branch of figure 2 that yields displacements, its channels in proportion to `width`.

    With 32: 64 and 128 for the two finest stages, 256 for the others, which are joined first;
    normalised in 8 groups of the 64, in 16 of all others.
    """

    mean: Tensor

    def __init__(self, channels: tuple[int, ...], width: int) -> None:
        super().__init__()
        wide = 8 * width
        widths = [2 * width, 4 * width, *([wide] * (len(channels) - 2))]
        self.reduce = nn.ModuleList(
            _reduced(c, w, 8 if place == 0 else 16)
            for place, (c, w) in enumerate(zip(channels, widths, strict=True))
        )
        self.deep = _reduced(sum(widths[2:]) or widths[1], wide, 16)
        self.join = _reduced(sum(widths[:2]) + wide, wide, 16)
        self.out = nn.Conv2d(wide, 2, 1, bias=False)
        self.register_buffer("mean", torch.zeros(2))

    def forward(self, taps: list[Tensor], size: tuple[int, int]) -> Tensor:
        reduced = [F.relu(reduce(tap)) for reduce, tap in zip(self.reduce, taps, strict=True)]
        rest = reduced[2:] or reduced[1:]
        coarse = (rest[0].shape[-2], rest[0].shape[-1])
        deep = F.relu(self.deep(torch.cat([_to_size(r, coarse) for r in rest], dim=1)))
        parts = [_to_size(part, size) for part in (*reduced[:2], deep)]
        field: Tensor = self.out(F.relu(self.join(torch.cat(parts, dim=1))))
        # A field that is shifted as a whole has the same differences: its mean carries nothing.
        return field if self.training else field - self.mean.view(1, 2, 1, 1)
