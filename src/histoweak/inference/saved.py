"""A trained network as a folder: `model.safetensors`, `config.json` and a model card.

Whoever hands over such a folder is not trusted: the description is validated strictly, the
network is built only if the weights file is large enough for it, and nothing that is loaded can
run code.
"""

import hashlib
import json
import secrets
import shutil
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field, JsonValue
from safetensors.torch import save_file
from torch import nn

from histoweak.atomic import sync_file, sync_folder
from histoweak.classes import ClassSet
from histoweak.config import StrictConfig, build_config
from histoweak.errors import ConfigError, HistoweakError, OutputError, WeightsError
from histoweak.inference.post_config import SavedPost
from histoweak.nets.config import NetConfig
from histoweak.nets.kinds import NETS, build_network
from histoweak.nets.weights import load_into
from histoweak.refine.white import WhiteConfig

WEIGHTS, DESCRIPTION, CARD = "model.safetensors", "config.json", "README.md"
FORMAT = 1
MAX_DESCRIPTION_BYTES = 1_000_000


class ClassesDescription(StrictConfig):
    """A `ClassSet` in plain data."""

    names: tuple[str, ...]
    colors: tuple[tuple[int, int, int], ...] = ()
    white: str | None = None

    def class_set(self) -> ClassSet:
        """Build the class set, which checks itself."""
        return ClassSet(self.names, self.colors, self.white)


class Description(StrictConfig):
    """What `config.json` holds; `weights` is `weights_digest` of the network."""

    format: Literal[1] = 1
    histoweak: str
    kind: str
    net: dict[str, JsonValue]
    classes: ClassesDescription
    mpp: float | None = Field(None, gt=0, allow_inf_nan=False)
    exclusive: bool = False
    white: WhiteConfig | None = None
    post: SavedPost | None = None
    weights: str
    provenance: dict[str, JsonValue] = Field(default_factory=dict)


def weights_digest(network: nn.Module) -> str:
    """SHA-256 in hex over names, shapes and values of all weights, on whatever device."""
    total = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        total.update(f"{name} {value.dtype} {tuple(value.shape)};".encode())
        total.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def write_folder(
    folder: Path, description: Description, network: nn.Module, card: str, overwrite: bool
) -> None:
    """Write a model folder, whole or not at all.

    Raises:
        OutputError: not writable, or the folder exists and holds something else.
    """
    text = description.model_dump_json(indent=2) + "\n"
    working = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}")
    try:
        if folder.exists() and not overwrite and any(folder.iterdir()):
            _require_same(folder, text)
            return
        working.mkdir(parents=True)
        state = {k: v.detach().cpu().clone(memory_format=torch.contiguous_format)
                 for k, v in network.state_dict().items()}  # fmt: skip
        save_file(state, working / WEIGHTS)
        (working / DESCRIPTION).write_text(text, encoding="utf-8")
        (working / CARD).write_text(card, encoding="utf-8")
        for name in (WEIGHTS, DESCRIPTION, CARD):
            sync_file(working / name)
        _put(working, folder)
    except OSError as error:
        raise OutputError(
            f"the model cannot be written ({error.strerror or error})",
            where=folder,
            remedy="Free disk space, or choose a folder that you may write to",
        ) from error
    finally:
        shutil.rmtree(working, ignore_errors=True)


def _require_same(folder: Path, text: str) -> None:
    present = folder / DESCRIPTION
    if not present.is_file() or present.read_text(encoding="utf-8", errors="replace") != text:
        raise OutputError(
            "holds something else than this model",
            where=folder,
            expected="a new or empty folder",
            remedy="Choose another folder, or pass overwrite=True",
        )


def _put(working: Path, folder: Path) -> None:
    """Rename `working` to `folder`; what stands there goes once it has been replaced."""
    old = working.with_name(f"{working.name}.old")
    if folder.exists():
        folder.replace(old)
    working.replace(folder)
    sync_folder(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def find_folder(path: Path) -> Path:
    """Return the model folder that `path` is, or that the run folder `path` holds.

    Raises:
        WeightsError: there is none.
    """
    for folder in (path, path / "model"):
        if (folder / DESCRIPTION).is_file() and (folder / WEIGHTS).is_file():
            return folder
    missing = "does not exist" if not path.exists() else f"holds no {DESCRIPTION} and {WEIGHTS}"
    raise WeightsError(
        missing,
        where=path,
        expected="a saved model, or a finished run with a folder `model`",
        remedy="Give the folder of a model, or finish the run with `histoweak run`",
    )


def read_folder(folder: Path) -> tuple[Description, NetConfig, nn.Module]:
    """Read a model folder.

    Raises:
        WeightsError: a file is missing, damaged, or does not fit the other.
    """
    path = folder / DESCRIPTION
    try:
        description = build_config(Description, _read_json(path), path)
        net = _net_config(description)
        classes = description.classes.class_set()
        if description.post is not None:
            description.post.require_fit(classes)
        network = _build(net, len(classes), folder / WEIGHTS)
    except WeightsError:
        raise
    except HistoweakError as error:
        where = path if error.where in (None, path) else f"{path}, {error.where}"
        raise WeightsError(
            error.problem, where=where, expected=error.expected, remedy=error.remedy
        ) from error
    load_into(network, folder / WEIGHTS)
    if weights_digest(network) != description.weights:
        raise WeightsError(
            f"is not the file that {DESCRIPTION} describes: its values have another digest",
            where=folder / WEIGHTS,
            expected=description.weights,
            remedy="Copy the whole model folder again from where it was saved",
        )
    return description, net, network


def _read_json(path: Path) -> dict[str, Any]:
    remedy = "Copy the whole model folder again from where it was saved"
    try:
        if path.stat().st_size > MAX_DESCRIPTION_BYTES:
            raise WeightsError("larger than 1 MB", where=path, remedy=remedy)
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"cannot be read ({error})", where=path, remedy=remedy) from error
    if not isinstance(values, dict):
        raise WeightsError("holds no JSON object", where=path, remedy=remedy)
    if isinstance(values.get("format"), int) and values["format"] > FORMAT:
        raise WeightsError(
            f"format is {values['format']}",
            where=path,
            expected=f"at most {FORMAT}",
            remedy="Update histoweak: the model was saved by a newer version",
        )
    return values


def _net_config(description: Description) -> NetConfig:
    if description.kind not in NETS:
        raise ConfigError(
            f"kind = {description.kind!r}",
            expected=f"one of {list(NETS)}",
            remedy="Update histoweak if a newer version saved the model",
        )
    return build_config(NETS[description.kind].config, description.net, "net")


def _build(net: NetConfig, n_classes: int, weights: Path) -> nn.Module:
    """Build the network without starting weights, for those of the folder replace them."""
    blank = net.model_copy(update={"weights": None})

    def build() -> nn.Module:
        return build_network(blank, n_classes)

    try:
        with torch.device("meta"):
            planned = sum(v.numel() * v.element_size() for v in build().state_dict().values())
    except (ConfigError, NotImplementedError, RuntimeError):
        planned = 0  # some networks cannot be planned without memory, or cannot be built at all
    # A description may ask for more memory than there is: its weights must be as large.
    if planned > 4 * weights.stat().st_size + 1_000_000:
        raise WeightsError(
            f"{weights.stat().st_size} bytes, but {DESCRIPTION} describes {planned} bytes",
            where=weights,
            remedy="Copy the whole model folder again from where it was saved",
        )
    return build()
