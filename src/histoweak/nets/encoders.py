"""Any timm encoder as a pyramid of feature maps."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import timm
from torch import Tensor, nn

from histoweak.errors import ConfigError, WeightsError
from histoweak.nets.weights import load_into

HEAD_PREFIXES = ("fc.", "classifier.", "head.", "head_drop", "global_pool")


class Encoder(nn.Module):
    """A timm network cut open at the given reductions.

    Args:
        name: a timm architecture, or a hub id such as `hf-hub:owner/model`.
        strides: reductions wanted, ascending, e.g. `(8, 16)`. Where several maps have one
            reduction, as all layers of a transformer have, the last of them is taken.
        weights: None starts from scratch, `"pretrained"` asks timm for its weights (needs a
            network connection or a filled cache), anything else is a local safetensors file with
            the names of that timm architecture.
        output_stride: coarsest reduction; stages that would go beyond it keep their resolution.
            None leaves all as they are.
        dilated: whether such stages dilate their filters, which keeps the field of view of
            pretrained ones.

    Raises:
        ConfigError: timm knows no such architecture, or it has no map at a wanted stride.
        WeightsError: the weights cannot be had or do not fit.
    """

    def __init__(
        self,
        name: str,
        strides: tuple[int, ...],
        weights: str | None = None,
        output_stride: int | None = None,
        dilated: bool = True,
    ) -> None:
        super().__init__()
        info = create_timm(name, **cut_options(output_stride)).feature_info
        index_of = dict(zip(info.reduction(), info.out_indices, strict=True))
        missing = [s for s in strides if s not in index_of]
        if missing:
            raise ConfigError(
                f"encoder {name!r} has no feature map of stride {missing[0]}",
                expected=f"strides among {list(index_of)}",
                remedy="Choose other strides or another encoder",
            )
        indices = tuple(index_of[s] for s in strides)
        self.body: Any = build_body(name, indices, weights, output_stride, dilated)
        self.name, self.strides = name, strides
        self.channels: tuple[int, ...] = tuple(self.body.feature_info.channels())

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return one map (B, channels, H/stride, W/stride) per stride.

        Raises:
            ConfigError: a transformer with patches of 14 pixels, say, cannot divide the images.
        """
        cell, size = max(self.strides), (images.shape[-2], images.shape[-1])
        if cell & (cell - 1) and any(side % cell for side in size):
            raise ConfigError(
                f"encoder {self.name!r} cannot divide {size[1]} x {size[0]} pixels",
                expected=f"sides that are multiples of {cell}",
                remedy=f"Set classifier.crop to {math.lcm(cell, 32)}, or take an encoder whose "
                "patches are 16 pixels wide",
            )
        return channels_first(self.body, self.body(images))


def channels_first(body: nn.Module, maps: list[Tensor]) -> list[Tensor]:
    """Turn the maps of timm's cut networks into (B, C, h, w); some transformers put C last."""
    if getattr(body, "output_fmt", None) == "NHWC":
        return [m.permute(0, 3, 1, 2).contiguous() for m in maps]
    return maps


def create_timm(name: str, **options: Any) -> Any:
    """Build a timm network without weights.

    Raises:
        ConfigError: timm knows no such architecture, or cannot build it with these options.
        WeightsError: its description must be fetched and cannot be.
    """
    try:
        return _any_size(name, pretrained=False, **options)
    except OSError as error:
        raise WeightsError(
            f"encoder {name!r} cannot be fetched ({error})",
            remedy="Connect to the network once, or name an architecture that timm knows",
        ) from error
    except (RuntimeError, AttributeError, AssertionError, TypeError, ValueError) as error:
        close = timm.list_models(f"*{name[:6]}*")[:3]
        raise ConfigError(
            f"encoder {name!r}: {error}",
            expected=f"an architecture that timm builds with {', '.join(options)}",
            remedy=f"Try one of {close}" if close else "`timm.list_models()` names them",
        ) from error


def cut_options(output_stride: int | None) -> dict[str, Any]:
    """What timm is told to cut a network open; not all of its networks know an output stride."""
    options: dict[str, Any] = {"features_only": True}
    return options if output_stride is None else {**options, "output_stride": output_stride}


def build_body(
    name: str,
    indices: tuple[int, ...],
    weights: str | None,
    output_stride: int | None = None,
    dilated: bool = True,
) -> Any:
    """Build the cut network; `indices` count timm's feature maps, the rest as for `Encoder`.

    Raises:
        WeightsError: the weights cannot be had or do not fit.
    """
    options = cut_options(output_stride) | {"out_indices": indices}
    if weights == "pretrained":
        body = _fetch(name, **options)
    else:
        body = _any_size(name, pretrained=False, **options)
    if weights not in (None, "pretrained"):
        load_cut(body, name, Path(str(weights)))
    if not dilated:
        _undilate(body)
    return body


def _undilate(body: nn.Module) -> None:
    for module in body.modules():
        if isinstance(module, nn.Conv2d) and max(module.dilation) > 1:
            module.padding = tuple(size // 2 for size in module.kernel_size)
            module.dilation = (1, 1)


def whole_timm(name: str, weights: str | None) -> Any:
    """Build a whole timm network without its classification head.

    Args:
        name: a timm architecture or hub id.
        weights: as in `Encoder`.

    Raises:
        ConfigError: timm knows no such architecture.
        WeightsError: the weights cannot be had or do not fit.
    """
    if weights == "pretrained":
        return _fetch(name, num_classes=0)
    network = create_timm(name, num_classes=0)
    if weights is not None:
        load_into(network, Path(weights), drop=HEAD_PREFIXES)
    return network


def _any_size(name: str, **options: Any) -> Any:
    """Build a timm network for images of any size: transformers take one size unless told so."""
    try:
        return timm.create_model(name, dynamic_img_size=True, **options)
    except TypeError:  # networks that take any size anyway do not know the option
        return timm.create_model(name, **options)


def _fetch(name: str, **options: Any) -> Any:
    try:
        return _any_size(name, pretrained=True, **options)
    except Exception as error:  # timm and the hub raise many kinds; each means the same here
        raise WeightsError(
            f"pretrained weights of {name!r} cannot be fetched ({error})",
            remedy="Connect to the network once, give a local safetensors file, or train from "
            "scratch with weights=null",
        ) from error


def load_cut(cut: nn.Module, name: str, path: Path) -> None:
    """Load the state file of a whole timm network into the same network cut open.

    Args:
        cut: timm's network of that name, built with `features_only`.
        name: the architecture.
        path: safetensors file with the names of the whole network.

    Raises:
        WeightsError: no such file, not safetensors, or names or shapes that do not fit.
    """
    state = whole_timm(name, str(path)).state_dict()
    sources, places = flat_names(state), flat_names(cut.state_dict())
    cut.load_state_dict({place: state[sources[flat]] for flat, place in places.items()})


def flat_names(names: Iterable[str]) -> dict[str, str]:
    """Names of weights, by what a whole network of timm and the same one cut open have in common.

    timm renames modules of some networks when it cuts them (stages.0 -> stages_0, or all of them
    below `model`).
    """
    return {name.removeprefix("model.").replace(".", "_"): name for name in names}
