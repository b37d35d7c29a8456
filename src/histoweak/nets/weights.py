"""Starting weights of encoders: none, a local safetensors file, or a hub id that timm knows."""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from histoweak.errors import WeightsError


def load_into(network: nn.Module, path: Path, *, drop: tuple[str, ...] = ()) -> None:
    """Load a safetensors file into a network.

    Args:
        network: receives the weights.
        path: the file.
        drop: prefixes of entries that the network has no place for, such as the head of an
            ImageNet classifier.

    Raises:
        WeightsError: no such file, not safetensors, or names or shapes that do not fit.
    """
    remedy = "Give a .safetensors file saved from the same architecture"
    if path.suffix != ".safetensors":
        raise WeightsError(
            f"ends in {path.suffix or 'nothing'!r}",
            where=path,
            expected=".safetensors; other formats can run code when loaded",
            remedy="Convert the weights to safetensors first",
        )
    try:
        state = load_file(path)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"cannot be read ({error})", where=path, remedy=remedy) from error
    own = network.state_dict()
    # A prefix alone does not tell: `head.norm` of some networks is no part of the classifier.
    state = {k: v for k, v in state.items() if k in own or not k.startswith(drop)}
    missing = sorted(own.keys() - state.keys())
    surplus = sorted(state.keys() - own.keys())
    shapes = [n for n in sorted(own.keys() & state.keys()) if own[n].shape != state[n].shape]
    for problem, names in (
        ("misses", missing),
        ("has unknown", surplus),
        ("has another shape for", shapes),
    ):
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise WeightsError(f"{problem} {', '.join(names[:3])}{more}", where=path, remedy=remedy)
    network.load_state_dict(state)
