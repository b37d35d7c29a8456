"""HistoSegNet's patch classifier, and its Grad-CAM as class maps of one forward pass.

Source: Chan et al. (ICCV 2019), section 3.1 (network) and 3.2 (Grad-CAM). With the last ReLU's map
A, normalisation `a_k A_k + b_k`, global pooling and one linear layer W,

    y_c = sum_k W_ck pool(a_k A_k + b_k) + bias_c.

Global maximum or mean alike: the gradients of the pooled value with respect to the cells of A_k
sum to a_k, whatever the image (the maximum passes a_k to one cell, 2x2 pooling in between passes
it on). So Grad-CAM's channel weights, the spatial means of dy_c/dA_k, are `W_ck a_k / (h w)`, and
the maps are a 1x1 convolution of A: no backward pass per image and class. The constant 1 / (h w)
is left out.
"""

from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from histoweak.nets.cam_classifier import join_maps
from histoweak.nets.config import MapsNetConfig
from histoweak.nets.encoders import Encoder
from histoweak.nets.normalise import IMAGENET_MEAN, IMAGENET_STD, Normalise
from histoweak.nets.pooled import PooledNetwork, Pooling
from histoweak.nets.post_norm import LAYERS, PostNormEncoder, own_strides


class HistoSegNetConfig(MapsNetConfig):
    """The classification network of HistoSegNet.

    `encoder` is `x1.7` (VGG-16 up to its third block; maps at stride 4, pooled at 8), `vgg16_bn`
    (no pooling behind the fourth and fifth blocks; stride 8) or any timm architecture, whose maps
    at `strides`
    are joined as in `ClassifierNetConfig` by `head` and `width`. `pooling` is that of the features
    before the linear layer. `scalar_mean` and `scalar_std` (0..255), both or none, take the place
    of ImageNet's means per channel. `dropout` and `vgg_width` (multiplies channels) speak of the
    first two encoders, for which no registry holds `weights`: give a file of `histoweak pretrain`.
    """

    encoder: str = "x1.7"
    strides: tuple[int, ...] = Field((4, 8), min_length=1)
    pooling: Pooling = "max"
    scalar_mean: float | None = Field(None, ge=0, le=255)
    scalar_std: float | None = Field(None, gt=0, le=255)
    dropout: float = Field(0.25, ge=0, lt=1)
    vgg_width: float = Field(1.0, gt=0, le=1)
    head: Literal["fused", "linear"] = "linear"
    width: int = Field(128, ge=8)

    @model_validator(mode="after")
    def _fit_each_other(self) -> Self:
        if (self.scalar_mean is None) != (self.scalar_std is None):
            raise ValueError("give both scalar_mean and scalar_std, or none of them")
        if self.encoder not in LAYERS:
            return self
        right = own_strides(self.encoder)
        if self.strides != right:
            raise ValueError(f"strides of encoder {self.encoder!r} are {list(right)}")
        if self.weights == "pretrained":
            raise ValueError(
                f"no registry holds weights of encoder {self.encoder!r}: make a file with "
                "`histoweak pretrain`, or choose a timm encoder"
            )
        if self.weights is not None and self.vgg_width != 1.0:
            raise ValueError("weights need vgg_width 1.0: leave one of the two out")
        return self


class HistoSegNet(PooledNetwork):
    """Encoder, normalisation, global pooling and a linear layer, with Grad-CAM in closed form.

    Args:
        config: which network.
        n_classes: K.

    Raises:
        ConfigError: timm knows no such architecture, or it has no map at one of the `strides`.
        WeightsError: the weights cannot be had or do not fit.
    """

    def __init__(self, config: HistoSegNetConfig, n_classes: int) -> None:
        super().__init__()
        self.pooling = config.pooling
        self.normalise = _normalise(config)
        if config.encoder in LAYERS:
            own = _own_encoder(config)
            self.encoder: nn.Module = own
            self.join: nn.Module = nn.Identity()
            self.norm: nn.Module = nn.BatchNorm2d(own.channels)
            self.after: nn.Module = own.after
            channels = own.channels
        else:
            encoder = Encoder(config.encoder, config.strides, config.weights)
            self.encoder = encoder
            self.join, channels = join_maps(encoder.channels, config.head, config.width)
            # The last layers of these networks are normalised already.
            self.norm, self.after = nn.Identity(), nn.Identity()
        self.head = nn.Linear(channels, n_classes)

    def activations(self, images: Tensor) -> Tensor:
        """The last ReLU's map (B, C, h, w); images (B, 3, H, W) in [0, 1]."""
        found: Tensor = self.join(self.encoder(self.normalise(images)))
        return found

    def maps(self, activations: Tensor) -> Tensor:
        """Grad-CAM before its ReLU, times h w: (B, K, h, w)."""
        return torch.einsum("bchw,kc->bkhw", activations, self.channel_weights())

    def channel_weights(self) -> Tensor:
        """Weights (K, C) of the channels in the maps: `W_ck a_k`."""
        if not isinstance(self.norm, nn.BatchNorm2d) or self.norm.running_var is None:
            return self.head.weight
        scale: Tensor = self.norm.weight * (self.norm.running_var + self.norm.eps).rsqrt()
        return self.head.weight * scale

    def pooled_map(self, activations: Tensor) -> Tensor:
        """The normalised map whose cells are pooled."""
        found: Tensor = self.after(self.norm(activations))
        return found

    def logits(self, pooled: Tensor) -> Tensor:
        """Logits (N, K) of pooled features (N, C)."""
        found: Tensor = self.head(pooled)
        return found


def _normalise(config: HistoSegNetConfig) -> Normalise:
    mean, std = config.scalar_mean, config.scalar_std
    if mean is None or std is None:
        return Normalise(IMAGENET_MEAN, IMAGENET_STD)
    return Normalise((mean / 255,) * 3, (std / 255,) * 3)


def _own_encoder(config: HistoSegNetConfig) -> PostNormEncoder:
    return PostNormEncoder(config.encoder, config.vgg_width, config.dropout, config.weights)
