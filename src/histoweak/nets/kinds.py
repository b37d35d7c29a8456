"""The networks that can be saved as a model and loaded again, by the name of their kind."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from histoweak.nets.boundary import BoundaryNet, BoundaryNetConfig
from histoweak.nets.cam_classifier import CamClassifier, ClassifierNetConfig
from histoweak.nets.config import NetConfig
from histoweak.nets.histosegnet import HistoSegNet, HistoSegNetConfig
from histoweak.nets.instances import InstanceNet, InstanceNetConfig
from histoweak.nets.layer_classifier import LayerClassifier, LayerNetConfig
from histoweak.nets.refiner import RefinerNetConfig
from histoweak.nets.segmenters import Segmenter, SegmenterNetConfig
from histoweak.nets.suppression import SuppressedClassifier, SuppressedNetConfig


@dataclass(frozen=True)
class NetKind:
    """How to build one kind of network.

    Args:
        config: its settings; a subclass of `MapsNetConfig` where it yields class maps.
        build: (settings, K) -> the network.
    """

    config: type[NetConfig]
    build: Callable[[Any, int], nn.Module]


NETS: dict[str, NetKind] = {
    "segmenter": NetKind(SegmenterNetConfig, Segmenter),
    "classifier": NetKind(ClassifierNetConfig, CamClassifier),
    "instances": NetKind(InstanceNetConfig, InstanceNet),
    "suppressed-classifier": NetKind(SuppressedNetConfig, SuppressedClassifier),
    "refiner": NetKind(RefinerNetConfig, CamClassifier),
    "histosegnet": NetKind(HistoSegNetConfig, HistoSegNet),
    "boundary": NetKind(BoundaryNetConfig, BoundaryNet),
    "layer-classifier": NetKind(LayerNetConfig, LayerClassifier),
}


def kind_of(config: NetConfig) -> str:
    """Name of the kind that settings belong to.

    Raises:
        KeyError: `NETS` has no kind with such settings.
    """
    for name, kind in NETS.items():
        if type(config) is kind.config:
            return name
    raise KeyError(f"{type(config).__name__} is not registered in NETS")


def build_network(config: NetConfig, n_classes: int) -> nn.Module:
    """Build the network that settings describe, for K classes."""
    return NETS[kind_of(config)].build(config, n_classes)
