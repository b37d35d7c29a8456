"""The published weights of ResNet38-d under the names of `ResNet38d`.

MXNet names them by stage, block and branch: `res2a_branch2b1_weight` is a convolution of the
first block of stage 2, `bn2b1_branch2a_gamma` a normalisation of its second. Here they are
`b2.conv_branch2b1.weight` and `b2_1.bn_branch2a.weight`.
"""

import re
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from histoweak.errors import WeightsError
from histoweak.nets.mxnet_file import read_params
from histoweak.nets.resnet38d import ResNet38d

_BLOCK = re.compile(r"(res|bn)(\d)(?:a|b(\d+))_(branch[a-z0-9]+)_(weight|gamma|beta|moving_\w+)")
_LAST = re.compile(r"bn7_(gamma|beta|moving_\w+)")
_PARTS = {
    "weight": "weight",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_var": "running_var",
}
_DROPPED = "linear1000_"
"""The head for the thousand classes of ImageNet."""


def convert_resnet38d(path: Path) -> dict[str, Tensor]:
    """Read the published `.params` file as the state of a `ResNet38d` of width 1.

    Args:
        path: such as `ilsvrc-cls_rna-a1_cls1000_ep-0001.params`.

    Returns:
        Name to float32 tensor, complete.

    Raises:
        WeightsError: no such file, damaged, or not the weights of this network.
    """
    with torch.device("meta"):
        wanted = {k: v.shape for k, v in ResNet38d().state_dict().items()}
    return rename(read_params(path), wanted, path)


def rename(
    arrays: dict[str, npt.NDArray[np.generic]], wanted: dict[str, torch.Size], path: Path
) -> dict[str, Tensor]:
    """Give arrays the names of a network's state, and refuse what does not fit it.

    Args:
        arrays: MXNet's name to array.
        wanted: name to shape of the state that is to be filled; counters of batches stay 0.
        path: named in errors.

    Raises:
        WeightsError: an array too many, too few, or of another shape.
    """
    state: dict[str, Tensor] = {}
    for name, array in arrays.items():
        plain = name.removeprefix("arg:").removeprefix("aux:")
        if plain.startswith(_DROPPED):
            continue
        own = own_name(plain)
        if own is None or own not in wanted:
            raise _misfit(path, f"holds {name!r}, which is no part of the network")
        if array.shape != tuple(wanted[own]):
            raise _misfit(path, f"{name!r} is of shape {array.shape}, not {tuple(wanted[own])}")
        state[own] = torch.from_numpy(array.astype(np.float32))
    counters = {k: torch.tensor(0) for k in wanted if k.endswith("num_batches_tracked")}
    missing = sorted(wanted.keys() - state.keys() - counters.keys())
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise _misfit(path, f"misses {', '.join(missing[:3])}{more}")
    return state | counters


def own_name(name: str) -> str | None:
    """Name of an array in `ResNet38d`; None where it follows no known pattern."""
    if name == "conv1a_weight":
        return "conv1a.weight"
    last = _LAST.fullmatch(name)
    if last and last[1] in _PARTS:
        return f"bn7.{_PARTS[last[1]]}"
    block = _BLOCK.fullmatch(name)
    if block is None or block[5] not in _PARTS:
        return None
    kind, stage, number, branch, part = block.groups()
    where = f"b{stage}" if number is None else f"b{stage}_{number}"
    return f"{where}.{'conv' if kind == 'res' else 'bn'}_{branch}.{_PARTS[part]}"


def _misfit(path: Path, problem: str) -> WeightsError:
    return WeightsError(
        problem,
        where=path,
        expected="the weights of ResNet38 (model A1) for ImageNet",
        remedy="Fetch `ilsvrc-cls_rna-a1_cls1000_ep-0001.params` and convert that",
    )
