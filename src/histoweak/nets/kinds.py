"""The networks that can be saved as a model and loaded again, by the name of their kind."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from histoweak.nets.cam_classifier import CamClassifier, ClassifierNetConfig
from histoweak.nets.config import NetConfig
from histoweak.nets.instances import InstanceNet, InstanceNetConfig
from histoweak.nets.segmenters import Segmenter, SegmenterNetConfig


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
