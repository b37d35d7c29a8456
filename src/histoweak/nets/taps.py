"""The feature maps of all stages of an encoder, from the finest to the coarsest."""

from typing import Any

import torch
from torch import Tensor, nn

from histoweak.errors import WeightsError
from histoweak.nets.encoders import (
    Encoder,
    build_body,
    channels_first,
    create_timm,
    cut_options,
)
from histoweak.nets.vgg import BLOCKS, VggCamEncoder


class Taps(nn.Module):
    """A frozen encoder whose every stage is read: no gradients, stored statistics.

    Args:
        name: `vgg16`, `vgg16_bn` or a timm architecture.
        weights: as in `Encoder`.
        output_stride: as in `Encoder`; 8 or 16 for VGG.
        dilated: as in `Encoder`.
        vgg_width: multiplies the channels of VGG.
        stages: how many stages, from the finest; timm encoders only.

    Raises:
        ConfigError: timm knows no such architecture, or it has fewer than two stages.
        WeightsError: the weights cannot be had or do not fit.
    """

    def __init__(
        self,
        name: str,
        weights: str | None = None,
        output_stride: int | None = None,
        dilated: bool = True,
        *,
        vgg_width: float = 1.0,
        stages: int = 5,
    ) -> None:
        super().__init__()
        self.body: Any
        if name in ("vgg16", "vgg16_bn"):
            whole = VggCamEncoder(output_stride or 16, name == "vgg16_bn", weights, vgg_width)
            self.body = whole.features
            self.channels = tuple(max(8, round(channels * vgg_width)) for channels, _ in BLOCKS)
        else:
            count = _count(name, output_stride)
            indices = tuple(range(count))[:stages]
            self.body = build_body(name, indices, weights, output_stride, dilated)
            self.channels = tuple(self.body.feature_info.channels())
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> "Taps":
        """Stay in evaluation mode whatever is asked for."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> list[Tensor]:
        """Return one map (B, channels, h, w) per stage; images are normalised."""
        if not isinstance(self.body, nn.Sequential):
            return channels_first(self.body, self.body(images))
        # VGG: what goes into each pooling, and what comes out at the end.
        maps: list[Tensor] = []
        values = images
        for module in self.body:
            if isinstance(module, nn.MaxPool2d):
                maps.append(values)
            values = module(values)
        return [*maps, values]

    def take(self, encoder: nn.Module) -> None:
        """Take over the weights of a trained encoder of the same architecture.

        Raises:
            WeightsError: it is another one.
        """
        source = encoder.features if isinstance(encoder, VggCamEncoder) else None
        source = encoder.body if isinstance(encoder, Encoder) else source
        try:
            if source is None:
                raise RuntimeError(f"{type(encoder).__name__} has no stages of its own")
            self.body.load_state_dict(source.state_dict())
        except RuntimeError as error:
            raise WeightsError(
                f"the encoder cannot be read stage by stage ({error})",
                remedy="Name an encoder of its own: boundary.encoder and boundary.weights",
            ) from error


def _count(name: str, output_stride: int | None) -> int:
    """Number of stages of a timm architecture."""
    with torch.device("meta"):
        body = create_timm(name, **cut_options(output_stride))
    return len(body.feature_info.channels())
