"""Segmentation networks of segmentation-models-pytorch behind one configuration."""

import inspect
from pathlib import Path
from typing import Annotated, Any

import segmentation_models_pytorch as smp
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from histoweak.errors import ConfigError, WeightsError
from histoweak.nets.config import NetConfig
from histoweak.nets.encoders import HEAD_PREFIXES, load_cut
from histoweak.nets.normalise import Normalise
from histoweak.nets.weights import load_into

Rate = Annotated[int, Field(ge=1)]


class SegmenterNetConfig(NetConfig):
    """The segmentation network.

    `architecture` is any of segmentation-models-pytorch; `encoder` any of its encoders, or a timm
    one as `tu-NAME`. `weights` is null (from scratch), a name that the library knows for the
    encoder, such as `imagenet`, which needs a network connection or a filled cache, or a local
    safetensors file of the encoder with the names that torchvision or timm give it.
    `atrous_rates` are the dilations of the three 3x3 convolutions of DeepLab's pyramid, which with
    `separable` are split into one per channel and one across channels; null for either, as for
    `output_stride` and `decoder_channels`, is the library's own. `normalise` shifts and scales
    colours by the statistics of ImageNet.
    """

    architecture: str = "DeepLabV3Plus"
    encoder: str = "resnet18"
    output_stride: int | None = Field(None, ge=8, le=32)
    decoder_channels: int | None = Field(None, ge=8)
    atrous_rates: tuple[Rate, Rate, Rate] | None = None
    separable: bool | None = None
    normalise: bool = True


class Segmenter(nn.Module):
    """A segmentation network that takes images of any size.

    Args:
        config: which network.
        n_classes: K.

    Raises:
        ConfigError: the library knows no such architecture, encoder or option.
        WeightsError: the weights cannot be had.
    """

    def __init__(self, config: SegmenterNetConfig, n_classes: int) -> None:
        super().__init__()
        self.config = config
        self.n_classes = n_classes
        self.normalise = Normalise() if config.normalise else nn.Identity()
        self.network: Any = _create(config, n_classes)
        for path in config.files:
            self._load_encoder(path)
        self.multiple = max(16, config.output_stride or 16, 32 if _needs_32(config) else 0)

    @property
    def body(self) -> nn.Module:
        """The encoder, with the names of weights that torchvision or timm give them."""
        encoder: Any = self.network.encoder
        body: nn.Module = encoder.model if self.config.encoder.startswith("tu-") else encoder
        return body

    def _load_encoder(self, path: Path) -> None:
        name = self.config.encoder
        if name.startswith("tu-"):
            load_cut(self.body, name.removeprefix("tu-"), path)
        else:
            load_into(self.body, path, drop=HEAD_PREFIXES)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, K, H, W); images (B, 3, H, W) in [0, 1], any H and W.

        Sizes that the encoder cannot halve evenly are padded by repeating the border and cut
        back, so no caller has to know the network's stride.
        """
        return self.decode(self.encode(images), (images.shape[-2], images.shape[-1]))

    def encode(self, images: Tensor) -> list[Tensor]:
        """Return the encoder's maps of the padded images, finest first; images as in `forward`."""
        height, width = images.shape[-2:]
        down, right = -height % self.multiple, -width % self.multiple
        padded = F.pad(self.normalise(images), (0, right, 0, down), mode="replicate")
        return list(self.network.encoder(padded))

    def decode(self, features: list[Tensor], size: tuple[int, int]) -> Tensor:
        """Return logits (B, K, *size) of images of that size, from what `encode` returned."""
        logits: Tensor = self.network.segmentation_head(self.network.decoder(features))
        return logits[..., : size[0], : size[1]]


def _needs_32(config: SegmenterNetConfig) -> bool:
    """DeepLab dilates its last stage; the other decoders halve five times."""
    return not config.architecture.lower().startswith("deeplab")


def _options(config: SegmenterNetConfig) -> dict[str, Any]:
    """What the settings ask of the library beyond its own choices, by its names."""
    asked = {
        "encoder_output_stride": config.output_stride,
        "decoder_channels": config.decoder_channels,
        "decoder_atrous_rates": config.atrous_rates,
        "decoder_aspp_separable": config.separable,
    }
    return {name: value for name, value in asked.items() if value is not None}


def _create(config: SegmenterNetConfig, n_classes: int) -> nn.Module:
    options = _options(config)
    try:
        _require_known(config.architecture, options)
        network: nn.Module = smp.create_model(
            config.architecture,
            encoder_name=config.encoder,
            encoder_weights=None if config.files else config.weights,
            classes=n_classes,
            **options,
        )
    except OSError as error:
        raise WeightsError(
            f"weights {config.weights!r} of {config.encoder!r} cannot be fetched ({error})",
            remedy="Connect to the network once, or train from scratch with weights=null",
        ) from error
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ConfigError(
            f"segmenter {config.architecture!r} with encoder {config.encoder!r}: {error}",
            expected="an architecture and encoder of segmentation-models-pytorch",
            remedy="For example architecture=DeepLabV3Plus, encoder=resnet18",
        ) from error
    return network


def _require_known(architecture: str, options: dict[str, Any]) -> None:
    """Refuse options that an architecture lacks.

    The library would hand them on to the encoder, and some encoders take any without a word.

    Raises:
        KeyError: no such architecture.
        ValueError: it does not know an option.
    """
    known = inspect.signature(smp.MODEL_ARCHITECTURES_MAPPING[architecture.lower()]).parameters
    unknown = sorted(options.keys() - known.keys())
    if unknown:
        raise ValueError(f"it knows no {', '.join(unknown)}")
