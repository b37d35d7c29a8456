"""Parts of a network that training leaves as they are."""

from typing import Any

from torch import nn

from histoweak.errors import ConfigError
from histoweak.nets.encoders import Encoder
from histoweak.nets.vgg import VggCamEncoder


def freeze_stages(encoder: nn.Module, stride: int) -> None:
    """Take the stages of an encoder up to a reduction out of training.

    No gradient reaches them, as if their output were detached, and none is computed.

    Args:
        encoder: an `Encoder` or a `VggCamEncoder`.
        stride: coarsest reduction whose stage stays as it is.

    Raises:
        ConfigError: the encoder has no such stages.
    """
    stages = _stages(encoder)
    frozen = [module for reduction, module in stages if reduction <= stride]
    if not frozen or len(frozen) == len(stages):
        raise ConfigError(
            f"frozen = {stride} takes {len(frozen)} of {len(stages)} stages out of training",
            expected=f"a reduction among {sorted({r for r, _ in stages})[:-1]}",
            remedy="Choose another reduction, or null to train all",
        )
    for module in frozen:
        module.requires_grad_(False)


def fix_norm(network: nn.Module) -> None:
    """Let batch normalisation use its stored statistics and leave them as they are."""
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


def _stages(encoder: nn.Module) -> list[tuple[int, nn.Module]]:
    """The parts of an encoder in order, each with the reduction of its output."""
    parts: list[tuple[int, nn.Module]] = []
    if isinstance(encoder, VggCamEncoder):
        reduction = 1
        for module in encoder.features:
            stride = module.stride if isinstance(module, nn.MaxPool2d) else 1
            reduction *= stride if isinstance(stride, int) else stride[0]
            parts.append((reduction, module))
        return parts
    if not isinstance(encoder, Encoder):
        return []
    # timm names the module that ends each stage; what comes before it belongs to the stage.
    infos: list[dict[str, Any]] = encoder.body.feature_info.info
    ends = {info["module"].replace(".", "_"): int(info["reduction"]) for info in infos}
    waiting: list[nn.Module] = []
    for name, module in encoder.body.named_children():
        waiting.append(module)
        if name in ends:
            parts += [(ends[name], part) for part in waiting]
            waiting = []
    return parts
