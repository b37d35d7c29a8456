"""From a method's name to its paper and its code, without importing the code."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

from histoweak.classes import ClassSet
from histoweak.errors import ConfigError
from histoweak.pipeline import Stage

if TYPE_CHECKING:
    from histoweak.methods.config import MethodConfig


class MethodModule(Protocol):
    """What the file of a method defines."""

    Config: type["MethodConfig"]

    def build(self, config: "MethodConfig", classes: ClassSet) -> Sequence[Stage]:
        """Return the stages in order; the last one writes the evaluation.

        Raises:
            ConfigError: the settings do not fit the classes.
        """
        ...


@dataclass(frozen=True)
class MethodSpec:
    """What is known of a method before its code is loaded.

    Args:
        title: one line for people.
        paper: where it was published.
        module: import path of its file.
        pixel_supervision: whether it reads masks of the training split.
    """

    title: str
    paper: str
    module: str
    pixel_supervision: bool = False

    def load(self) -> MethodModule:
        """Import the file of the method."""
        return cast(MethodModule, import_module(self.module))


METHODS: dict[str, MethodSpec] = {
    "vgg-cam": MethodSpec(
        title="CAM, confidence threshold 0.70, pseudo-masks, DeepLabV3+",
        paper="Zhou et al., CVPR 2016 (CAM); Chen et al., ECCV 2018 (DeepLabV3+)",
        module="histoweak.methods.vgg_cam",
    ),
    "camel": MethodSpec(
        title="Combined multiple instance learning, label enrichment, segmentation",
        paper="Xu et al., ICCV 2019 (CAMEL)",
        module="histoweak.methods.camel",
    ),
    "drs": MethodSpec(
        title="Region suppression, refinement network, pseudo-masks, DeepLabV3+",
        paper="Kim, Han & Kim, AAAI 2021 (DRS); Chen et al., ECCV 2018 (DeepLabV3+)",
        module="histoweak.methods.drs",
    ),
    "histosegnet": MethodSpec(
        title="Grad-CAM in closed form, adjusted between classes; one network, no segmenter",
        paper="Chan et al., ICCV 2019 (HistoSegNet)",
        module="histoweak.methods.histosegnet",
    ),
    "irn": MethodSpec(
        title="Seeds, learned boundaries, random walk, pseudo-masks, DeepLabV3+",
        paper="Ahn, Cho & Kwak, CVPR 2019 (IRNet)",
        module="histoweak.methods.irn",
    ),
    "hisynseg": MethodSpec(
        title="Synthetic images from single-class patches, consistency on real ones",
        paper="Fang et al., IEEE Transactions on Medical Imaging 2025",
        module="histoweak.methods.hisynseg",
    ),
    "mlps": MethodSpec(
        title="Multi-layer pseudo-supervision: Grad-CAMs of three layers, progressive dropout",
        paper="Han et al., Medical Image Analysis 80 (2022) 102487",
        module="histoweak.methods.mlps",
    ),
    "supervised": MethodSpec(
        title="Upper bound: the same segmenter, trained on true masks",
        paper="Chen et al., ECCV 2018 (DeepLabV3+)",
        module="histoweak.methods.supervised",
        pixel_supervision=True,
    ),
}


def find_method(name: str) -> MethodSpec:
    """Return the method of a name.

    Raises:
        ConfigError: there is none; the message names the nearest.
    """
    if name in METHODS:
        return METHODS[name]
    close = difflib.get_close_matches(name, METHODS, n=1, cutoff=0.3)
    raise ConfigError(
        f"unknown method {name!r}",
        expected=f"one of {', '.join(METHODS)}",
        remedy=f"Did you mean {close[0]!r}?" if close else "`histoweak methods` lists them",
    )
