"""A classifier whose feature maps at three depths can be asked for, with attention in training.

Han et al. (Medical Image Analysis 2022): a bias-free linear head reads the last map, global
average pooling gives the logits, and class activation maps are taken at three layers.

Attention `A` is one value per pixel and the head is linear, so `head(A * m) = A * head(m)`: the
class maps are scaled in place of thousands of feature channels.
"""

from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from histoweak.cams.dropout_attention import dropout_attention
from histoweak.errors import ConfigError
from histoweak.nets.cam_classifier import Fuse, to_finest
from histoweak.nets.config import MapsNetConfig
from histoweak.nets.encoders import Encoder
from histoweak.nets.normalise import Normalise
from histoweak.nets.resnet38d import STRIDE, ResNet38d


class LayerNetConfig(MapsNetConfig):
    """The classification network of several layers.

    `encoder` is `resnet38d` (its layers b4_5, b5_2 and bn7, all at stride 8; `width_factor`
    multiplies its channels) or any timm architecture. With head `last` the layers are the maps at
    `strides` and the head reads the deepest. With head `fused` the maps of a timm encoder are
    projected to `width` channels, added at the finest stride and mixed; that is the deepest layer
    and stands in for the coarsest map. `dropout` is the share of channels dropped before the
    head, `frozen` what of `resnet38d` training leaves as it starts, `normalise` whether the
    network shifts and scales colours by the statistics of ImageNet.

    `attention` is where progressive dropout attention takes part: `none`, `train` (published:
    predictions then come from a pass that training did not see) or `always` (predictions with the
    attention, nothing dropped). `scale_attention` divides it by its mean, so that features keep
    their size.

    With `layer_heads` every layer has a linear head of its own, and with it class maps that
    training shapes; they then take the place of Grad-CAMs, which they are, of their own logits.
    """

    encoder: str = "resnet18"
    strides: tuple[int, ...] = Field((8, 16, 32), min_length=1)
    head: Literal["fused", "last"] = "fused"
    width: int = Field(128, ge=8)
    width_factor: float = Field(1.0, gt=0, le=1)
    dropout: float = Field(0.0, ge=0, lt=1)
    frozen: Literal["none", "norm", "norm-and-stem"] = "none"
    normalise: bool = True
    attention: Literal["none", "train", "always"] = "always"
    scale_attention: bool = True
    layer_heads: bool = False

    @property
    def freezes(self) -> bool:
        """Whether training leaves convolutions of the encoder as they start."""
        return self.frozen == "norm-and-stem"

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers, shallow to deep."""
        if self.encoder == "resnet38d":
            return ("b4_5", "b5_2", "bn7")
        names = tuple(f"stride-{stride}" for stride in self.strides)
        return (*names[:-1], "fused") if self.head == "fused" else names


class LayerClassifier(nn.Module):
    """Encoder, class head without bias, and the feature maps at several depths.

    Args:
        config: which network.
        n_classes: K.

    Raises:
        ConfigError: settings that do not fit each other, or no such encoder.
        WeightsError: the weights cannot be had or do not fit.
    """

    def __init__(self, config: LayerNetConfig, n_classes: int) -> None:
        super().__init__()
        _check(config)
        self.config = config
        self.normalise = Normalise() if config.normalise else nn.Identity()
        self.encoder = _encoder(config)
        channels = self.encoder.channels
        self.fuse = Fuse(channels, config.width) if config.head == "fused" else None
        self.dropout = nn.Dropout2d(config.dropout)
        read = channels[-1] if self.fuse is None else config.width
        self.head = _head(read, n_classes)
        shallow = channels[: len(config.layers) - 1] if config.layer_heads else ()
        self.layer_heads = nn.ModuleList(_head(c, n_classes) for c in shallow)
        self._freeze()

    def layers(self, images: Tensor) -> list[Tensor]:
        """Return the feature maps (B, C_l, h_l, w_l), shallow to deep; the head reads the last.

        Args:
            images: (B, 3, H, W) in [0, 1]; H and W are multiples of every stride.
        """
        maps = self.encoder(self.normalise(images))
        return maps if self.fuse is None else [*maps[:-1], self.fuse(maps)]

    def maps(self, last: Tensor, mu: float | None = None) -> Tensor:
        """Return class maps (B, K, h, w) of the deepest layer; their means are the logits.

        Args:
            last: the deepest layer.
            mu: drop the attention above this share of its maximum; None leaves attention out.
        """
        scores: Tensor = self.head(self.dropout(last))
        if mu is None:
            return scores
        seen = scores if self.config.dropout == 0 else self.head(last)
        return scores * dropout_attention(seen, mu, self.config.scale_attention)

    def forward(self, images: Tensor, mu: float | None = None) -> Tensor:
        """Return class maps (B, K, H / s, W / s), unbounded, s the finest stride.

        Args:
            images: as in `layers`.
            mu: as in `maps`; in evaluation mode it is 1 where attention is on `always`.
        """
        if not self.training:
            mu = 1.0 if self.config.attention == "always" else None
        layers = self.layers(images)
        # Enlarging by a whole factor keeps the mean, and with it the logits.
        return to_finest([layers[0], self.maps(layers[-1], mu)])[-1]

    def all_maps(self, images: Tensor, mu: float | None = None) -> list[Tensor]:
        """Return the class maps of every layer that has a head, shallow to deep.

        Args:
            images: as in `layers`.
            mu: as in `maps`, for the deepest layer.
        """
        layers = self.layers(images)
        heads = zip(self.layer_heads, layers, strict=False)
        return [*(head(layer) for head, layer in heads), self.maps(layers[-1], mu)]

    def train(self, mode: bool = True) -> "LayerClassifier":
        """Switch to training, but for the normalisation that is frozen."""
        super().train(mode)
        if self.config.frozen != "none":
            for module in self.encoder.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self

    def _freeze(self) -> None:
        if self.config.frozen == "none" or not isinstance(self.encoder, ResNet38d):
            return
        for module in self.encoder.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.requires_grad_(False)
        if self.config.frozen == "norm-and-stem":
            for module in self.encoder.stem():
                module.requires_grad_(False)


def _head(channels: int, n_classes: int) -> nn.Conv2d:
    head = nn.Conv2d(channels, n_classes, 1, bias=False)
    nn.init.xavier_uniform_(head.weight)
    return head


def _encoder(config: LayerNetConfig) -> Encoder | ResNet38d:
    if config.encoder == "resnet38d":
        return ResNet38d(config.width_factor, config.weights)
    return Encoder(config.encoder, config.strides, config.weights)


def _check(config: LayerNetConfig) -> None:
    """Refuse what only one of the two kinds of encoder can do."""
    if config.encoder == "resnet38d":
        problem = "strides" if config.strides != (STRIDE,) else "head"
        if config.strides != (STRIDE,) or config.head != "last":
            raise ConfigError(
                f"{problem} = {getattr(config, problem)!r} with encoder resnet38d",
                expected="strides: [8] and head: last; all its layers have stride 8",
                remedy="Set both, or choose another encoder",
            )
    elif config.frozen != "none" or config.width_factor != 1.0:
        problem = "frozen" if config.frozen != "none" else "width_factor"
        raise ConfigError(
            f"{problem} = {getattr(config, problem)!r} with encoder {config.encoder!r}",
            expected="encoder: resnet38d",
            remedy=f"Leave {problem} out, or choose resnet38d",
        )
