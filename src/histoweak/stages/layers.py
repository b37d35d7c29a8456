"""What methods with class maps of several layers add to the shared stages."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from histoweak.cams.dropout_attention import DropoutAttentionConfig, threshold_share
from histoweak.data.crops import Batch
from histoweak.inference.forward import posterior_bands
from histoweak.inference.layers import layer_maps
from histoweak.inference.model import TissueModel, load_model
from histoweak.inference.resize import index_mask
from histoweak.nets.layer_classifier import LayerClassifier, LayerNetConfig
from histoweak.objectives.pooling import box_mean
from histoweak.stages.classifier import MapsClassifierConfig
from histoweak.stages.rung import Predict, RungMaker
from histoweak.stages.scores import LayerScoresConfig
from histoweak.stages.view import View

UInt8 = npt.NDArray[np.uint8]
Float = npt.NDArray[np.float32]


class LayerClassifierConfig(MapsClassifierConfig):
    """The patch classifier whose class maps are taken at several layers.

    As in `MapsClassifierConfig`; `dropout_attention` is the schedule of the attention that
    `net.attention` puts to use.
    """

    net: LayerNetConfig = LayerNetConfig()
    dropout_attention: DropoutAttentionConfig = DropoutAttentionConfig()


class AttentiveLook:
    """Class maps and logits for training, under progressive dropout attention.

    Args:
        config: says where attention takes part, and how it changes with the steps.
    """

    def __init__(self, config: LayerClassifierConfig) -> None:
        self.config = config

    def __call__(
        self, network: nn.Module, images: Tensor, batch: Batch
    ) -> Sequence[tuple[Tensor, Tensor]]:
        """Return (B, K, h, w) and (N, K) of every layer with a head, for one training step."""
        if not isinstance(network, LayerClassifier):
            raise TypeError(f"expected a LayerClassifier, got {type(network).__name__}")
        config = self.config
        mu = None
        if config.net.attention != "none":
            mu = threshold_share(config.dropout_attention, batch.step, config.fit.steps)
        found = network.all_maps(images, mu)
        scales = [maps.shape[2] / images.shape[2] for maps in found]
        return [
            (maps, box_mean(maps, batch.boxes, (scale, scale)))
            for maps, scale in zip(found, scales, strict=True)
        ]


def layer_rungs(config: LayerScoresConfig, names: Sequence[str]) -> list[RungMaker]:
    """One rung per layer but the deepest, whose maps are those of the rung "pseudo-mask".

    Args:
        config: how class maps are taken.
        names: of the layers, shallow to deep.
    """
    seen = _Layers(config)
    return [
        RungMaker(f"layer {name}", config.tta, ("classifier",), partial(seen.make, index), config)
        for index, name in enumerate(names[:-1])
    ]


class _Layers:
    """Grad-CAMs of the image that was seen last: all rungs ask for one image after the other."""

    def __init__(self, config: LayerScoresConfig) -> None:
        self.config = config
        self.image: UInt8 | None = None
        self.maps: Float | None = None
        self.models: dict[Path, TissueModel] = {}

    def make(self, index: int, folders: Mapping[str, Path], device: str) -> Predict:
        """Return how the layer at an index labels an image: by its strongest class."""
        folder = folders["classifier"] / "model"
        if folder not in self.models:
            self.models[folder] = load_model(folder, device=device)
        model = self.models[folder]

        def predict(image: UInt8, mpp: float | None, view: View | None) -> UInt8:
            layers = self._look(model, image, mpp)
            working = model.at_working_scale(image, mpp).shape[:2]
            with torch.inference_mode():
                bands = posterior_bands(torch.from_numpy(layers[index]), model.stride, working)
                return index_mask(bands, working, image.shape[:2])

        return predict

    def _look(self, model: TissueModel, image: UInt8, mpp: float | None) -> Float:
        if self.maps is None or self.image is not image:
            config = self.config
            self.maps, _ = layer_maps(
                model, image, mpp, config.gradient, tta=config.tta, tile=config.tile
            )
            self.image = image
        return self.maps
