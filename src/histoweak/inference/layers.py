"""Class maps of several layers of a classifier, by Grad-CAM, on images of any size.

A tile plays the part of the published patch: its logit is the mean of its class map, and one
weight per channel and class serves the whole tile. On an image that fits into one tile this is
the published Grad-CAM exactly, whatever windows lie on it; a logit that is the mean over the image
is the mean of the logits of windows that divide it evenly, so their weights are averaged. Larger
images are blended from tiles of equal size, whose weights have equal scale.
"""

from collections.abc import Sequence
from typing import Unpack

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from histoweak.cams.gradcam import Gradient, grad_cams
from histoweak.config import build_config
from histoweak.inference.config import InferenceConfig, Options
from histoweak.inference.forward import computing, several_maps
from histoweak.inference.model import TissueModel
from histoweak.nets.cam_classifier import to_finest
from histoweak.nets.layer_classifier import LayerClassifier

UInt8 = npt.NDArray[np.uint8]
Float = npt.NDArray[np.float32]
LayerMaps = tuple[Float, Float]


class LayerCams(nn.Module):
    """Grad-CAMs of all layers and the class maps, as one network that can be tiled and turned.

    Args:
        network: the classifier.
        gradient: how gradients weigh features.
    """

    def __init__(self, network: LayerClassifier, gradient: Gradient) -> None:
        super().__init__()
        self.network, self.gradient = network, gradient

    def forward(self, images: Tensor) -> Tensor:
        """Return (B, (M + 1) K, h, w) at the finest stride: M layers, then the class maps.

        Grad-CAMs are multiplied by the number of pixels of their layer. They are then in units of
        the logit, and those of a layer that a linear head reads are its class maps. A layer with
        a head of its own needs no gradient for that.

        Args:
            images: (B, 3, H, W) in [0, 1].
        """
        network, attentive = self.network, self.network.config.attention == "always"
        mu = 1.0 if attentive else None
        if network.config.layer_heads:
            own = network.all_maps(images, mu)
            return torch.cat(to_finest([*own, own[-1]]), dim=1)
        # Gradients need tensors that were not made in inference mode.
        with torch.inference_mode(False), torch.enable_grad(), _frozen(network):
            layers = network.layers(images.clone().requires_grad_())
            maps = network.maps(layers[-1], mu)
            # With attention the last layer's gradient is no longer that of a linear head.
            head = None if attentive else network.head.weight.flatten(1)
            cams = grad_cams(layers, maps.mean(dim=(2, 3)), self.gradient, head)
        sized = [cam * (cam.shape[2] * cam.shape[3]) for cam in cams]
        return torch.cat(to_finest([*sized, maps.detach()]), dim=1)


class _frozen:  # noqa: N801 - reads as a statement
    """Keep autograd from recording what gradients of weights would need."""

    def __init__(self, network: nn.Module) -> None:
        self.parameters = [p for p in network.parameters() if p.requires_grad]

    def __enter__(self) -> None:
        for parameter in self.parameters:
            parameter.requires_grad_(False)

    def __exit__(self, *args: object) -> None:
        for parameter in self.parameters:
            parameter.requires_grad_(True)


def layer_maps(
    model: TissueModel,
    image: UInt8,
    mpp: float | None = None,
    gradient: Gradient = "mean",
    **options: Unpack[Options],
) -> LayerMaps:
    """Class maps of all layers, and those of the head, averaged over tiles and orientations.

    Args:
        model: a classifier of several layers.
        image: (H, W, 3) uint8.
        mpp: microns per pixel of `image`, as in `TissueModel.maps`.
        gradient: how gradients weigh features.
        options: fields of `InferenceConfig`.

    Returns:
        (M, K, h, w) in units of the logit, shallow to deep, and (K, h, w) as `TissueModel.maps`
        has them; both at the finest stride.

    Raises:
        ConfigError, ImageError: as in `TissueModel.maps`.
        TypeError: the model has no layers to ask for.
    """
    return several_layer_maps(model, [model.at_working_scale(image, mpp)], gradient, **options)[0]


def several_layer_maps(
    model: TissueModel,
    images: Sequence[UInt8],
    gradient: Gradient = "mean",
    **options: Unpack[Options],
) -> list[LayerMaps]:
    """`layer_maps` of images (H, W, 3) of one size at working scale, as in `several_maps`."""
    network = model.network
    if not isinstance(network, LayerClassifier):
        raise TypeError(f"expected a LayerClassifier, got {type(network).__name__}")
    config = build_config(InferenceConfig, options, "inference options")
    n_classes, count = len(model.classes), len(network.config.layers) + 1
    strides, n_maps = network.config.strides, count * n_classes
    with computing(config):
        values = several_maps(LayerCams(network, gradient), strides, images, n_maps, config)
    size = values.shape[2:]
    stacked: Float = values.cpu().numpy().reshape(len(images), count, n_classes, *size)
    return [(layers[:-1], layers[-1]) for layers in stacked]
