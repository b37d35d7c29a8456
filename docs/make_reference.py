"""Write the reference pages that follow from the code: configuration, recipes, command line.

    python docs/make_reference.py

A test compares the pages with what this script makes of the present code, so they cannot rot.
"""

import inspect
import re
import types
import typing
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from histoweak import recipes
from histoweak.cli import app
from histoweak.config import build_config
from histoweak.data.phantom import PhantomConfig
from histoweak.data.split import SplitConfig
from histoweak.data.tile import TileConfig
from histoweak.inference.config import InferenceConfig
from histoweak.methods import METHODS
from histoweak.pretraining import PretrainingConfig
from histoweak.recipes import DEFAULT, list_recipes, read_recipe
from histoweak.refine.config import MAIN, Refiners
from histoweak.synthesis.config import SynthesisConfig

REFERENCE = Path(__file__).parent / "reference"
NOTE = "<!-- Made by docs/make_reference.py from the code; do not edit by hand. -->"
TOOLS: dict[type[BaseModel], str] = {
    TileConfig: "`histoweak data tile`",
    SplitConfig: "`histoweak data split`",
    PhantomConfig: "`histoweak data phantom`",
    PretrainingConfig: "`histoweak pretrain`",
    SynthesisConfig: "`histoweak synth`",
    **dict.fromkeys(typing.get_args(Refiners), "`pseudo_masks.refine` and `--refine`"),
    InferenceConfig: "`histoweak predict`, `histoweak evaluate` and `load_model(...).predict`",
}
SIGNS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<", "multiple_of": "multiple of"}
MACHINE_DEFAULTS = {"workers": "number of processors"}
"""Options of the command line whose default depends on the machine."""

Key = tuple[str, FieldInfo, Any]
"""Dotted key, field, default."""


def pages() -> dict[Path, str]:
    """Path and text of every page that is made."""
    return {
        REFERENCE / "configuration.md": configuration_page(),
        REFERENCE / "recipes.md": recipes_page(),
        REFERENCE / "cli.md": cli_page(),
    }


def configuration_page() -> str:
    """All settings: of the methods by full key, and of the other tools."""
    parts = [
        "# Configuration",
        NOTE,
        "Settings of a method come from its recipe, then from `--config FILE.yaml`, then from each "
        "`--set KEY=VALUE`; later ones win key by key. Values are YAML: `null`, `true`, `1e-3`, "
        "`[8, 16]`. A key that does not exist is an error that names the nearest one, and the "
        "command leaves with exit code 3.",
        "```bash\nhistoweak run vgg-cam --data data/manifest.csv --out runs/first "
        "--set segmenter.fit.steps=2000 --set pseudo_masks.threshold=0.8\n```",
    ]
    models: dict[type[BaseModel], None] = {}
    for name, spec in METHODS.items():
        config = spec.load().Config
        models |= dict.fromkeys(_models(config))
        parts += [f"## Method `{name}`", f"{spec.title}. Source: {spec.paper}."]
        for section, field in config.model_fields.items():
            keys = list(leaves(config, section))
            parts += [f"### `{section}` of `{name}`", _see(field.annotation), _keys_table(keys)]
    parts += ["## What the keys mean"]
    for model in models:
        if model.__name__ != "Config":
            parts += [f"### {model.__name__}", _prose(model)]
    parts += ["## Settings of the other commands"]
    for model, used in TOOLS.items():
        parts += [f"### {model.__name__}", f"Used by {used}.", _prose(model)]
        parts += [_keys_table(list(leaves(model)))]
        inner = [m for m in _models(model) if m not in models and m is not model]
        parts += [text for m in inner for text in (f"#### {m.__name__}", _prose(m))]
    return "\n\n".join(parts) + "\n"


def leaves(model: type[BaseModel], only: str | None = None) -> Iterator[Key]:
    """Every key below a model, nested ones joined by dots, with its default."""
    yield from _leaves(model, None, "", only)


def _leaves(
    model: type[BaseModel], values: BaseModel | None, prefix: str, only: str | None = None
) -> Iterator[Key]:
    for name, field in model.model_fields.items():
        if only not in (None, name):
            continue
        default = getattr(values, name) if values is not None else field.get_default()
        inner = _model_in(field.annotation)
        if inner is None or default is None:
            yield prefix + name, field, default
        if inner is not None:
            nested = default if isinstance(default, BaseModel) else None
            yield from _leaves(inner, nested, f"{prefix}{name}.")


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model that an annotation names, alone or as `Model | None`."""
    for part in (annotation, *typing.get_args(annotation)):
        if inspect.isclass(part) and issubclass(part, BaseModel):
            return part
    return None


def _models(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    yield model
    for field in model.model_fields.values():
        inner = _model_in(field.annotation)
        if inner is not None:
            yield from _models(inner)


def _see(annotation: Any) -> str:
    model = _model_in(annotation)
    if model is None:
        return ""
    names = dict.fromkeys(m.__name__ for m in _models(model))
    return "Meaning: " + ", ".join(f"[{n}](#{n.lower()})" for n in names) + "."


def _keys_table(keys: list[Key]) -> str:
    rows = [
        f"| `{key}` | {type_text(field.annotation)} | {value_text(default)} | {_limits(field)} |"
        for key, field, default in keys
    ]
    return "\n".join(["| key | type | default | limits |", "| --- | --- | --- | --- |", *rows])


def type_text(annotation: Any) -> str:
    """An annotation in words."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation is type(None):
        return "null"
    if origin is typing.Annotated:
        return type_text(args[0])
    if origin is Literal:
        return ", ".join(f"`{a}`" for a in args)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(dict.fromkeys(type_text(a) for a in args))
    if origin in (tuple, list):
        length = "" if origin is list or Ellipsis in args else f"{len(args)} "
        return f"list of {length}{type_text(args[0])}" if args else "list"
    names = {float: "number", int: "whole number", str: "text", bool: "true or false"}
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return "settings"
    return names.get(annotation) or str(getattr(annotation, "__name__", annotation)).lower()


def value_text(value: Any) -> str:
    """A value as YAML writes it."""
    if value is PydanticUndefined:
        return "required"
    if value is None or isinstance(value, bool):
        return f"`{str(value).lower().replace('none', 'null')}`"
    kind = getattr(value, "kind", None)
    if kind in MAIN:
        return f"`{kind}:{getattr(value, MAIN[kind])}`"
    if isinstance(value, BaseModel):
        inner = ", ".join(f"{k}: {v}" for k, v in value.model_dump(mode="json").items())
        return f"`{{{inner}}}`"
    if isinstance(value, tuple | list):
        return f"`[{', '.join(value_text(v).strip('`') for v in value)}]`"
    return f"`{value}`"


def _limits(field: FieldInfo) -> str:
    found = [
        f"{sign} {getattr(entry, name)}"
        for entry in field.metadata
        for name, sign in SIGNS.items()
        if getattr(entry, name, None) is not None
    ]
    return ", ".join(found)


def _prose(model: type[BaseModel]) -> str:
    """A docstring as Markdown; its `Args:` become a list."""
    text = inspect.cleandoc(model.__doc__ or "")
    before, _, args = text.partition("Args:\n")
    items = re.sub(r"\n\s{8,}", " ", args)
    listed = re.sub(r"(?m)^\s{4}(\w+): ", r"- `\1`: ", items)
    return f"{before.strip()}\n\n{listed}".strip()


def recipes_page() -> str:
    """What every recipe changes."""
    parts = [
        "# Recipes",
        NOTE,
        "A recipe is a named set of settings that ships with histoweak. `default` is the method's "
        "own defaults (see [configuration](configuration.md)); the other recipes are listed here "
        "with every key in which they differ from it. `histoweak methods` lists them, and "
        "`histoweak run METHOD --recipe NAME` starts from one.",
    ]
    for method in METHODS:
        parts += [f"## Method `{method}`"]
        names = [name for name in list_recipes(method) if name != DEFAULT]
        parts += [] if names else ["Only `default`."]
        for name in names:
            rows = [
                f"| `{key}` | {value_text(own)} | {value_text(default)} |"
                for key, own, default in differences(method, name)
            ]
            head = ["| key | in this recipe | default |", "| --- | --- | --- |"]
            parts += [f"### `{name}` of `{method}`", _comment(method, name)]
            parts += ["\n".join([*head, *rows])]
    return "\n\n".join(parts) + "\n"


def differences(method: str, recipe: str) -> list[tuple[str, Any, Any]]:
    """Keys in which a recipe differs from the defaults: key, its value, the default."""
    model = METHODS[method].load().Config
    own = build_config(model, read_recipe(method, recipe), recipe)
    found: list[tuple[str, Any, Any]] = []
    _compare(own, model(), "", found)
    return found


def _compare(own: Any, default: Any, prefix: str, found: list[tuple[str, Any, Any]]) -> None:
    for name in type(own).model_fields:
        ours = getattr(own, name)
        theirs = getattr(default, name) if isinstance(default, BaseModel) else None
        if isinstance(ours, BaseModel):
            _compare(ours, theirs, f"{prefix}{name}.", found)
        elif ours != theirs or not isinstance(default, BaseModel):
            found.append((prefix + name, ours, theirs))


def _comment(method: str, recipe: str) -> str:
    """The comment at the head of a recipe's file."""
    text = (files(recipes) / method / f"{recipe}.yaml").read_text(encoding="utf-8")
    lines = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("# "))
    return "\n".join(lines)


def cli_page() -> str:
    """Every command with its arguments and options."""
    parts = [
        "# Command line",
        NOTE,
        "Errors are one message on standard error and an [exit code](exit-codes.md). "
        "`histoweak COMMAND --help` says the same as this page.",
    ]
    for path, command in commands():
        if getattr(command, "commands", None):
            continue
        parts += [f"## `{path}`", inspect.cleandoc(command.help or "")]
        hints = typing.get_type_hints(inspect.unwrap(command.callback))
        rows = [_parameter(p, hints) for p in command.params]
        if rows:
            head = ["| argument or option | type | default | meaning |", "| --- " * 4 + "|"]
            parts += ["\n".join([*head, *rows])]
    return "\n\n".join(parts) + "\n"


def commands() -> list[tuple[str, Any]]:
    """Full name and object of every command and group of commands."""
    found: list[tuple[str, Any]] = []

    def walk(name: str, command: Any) -> None:
        found.append((name, command))
        for inner_name, inner in getattr(command, "commands", {}).items():
            walk(f"{name} {inner_name}", inner)

    walk("histoweak", typer.main.get_command(app))
    return found


def _parameter(parameter: Any, hints: dict[str, Any]) -> str:
    option = parameter.opts[0].startswith("-")
    name = ", ".join([*parameter.opts, *parameter.secondary_opts])
    name = name if option else name.upper()
    default = "" if parameter.default in (None, "") else value_text(parameter.default)
    default = MACHINE_DEFAULTS.get(parameter.name, default)
    shown = "required" if parameter.required else default
    hint = type_text(hints[parameter.name]).removesuffix(" or null")
    return f"| `{name}` | {hint} | {shown} | {(parameter.help or '').replace('|', '/')} |"


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
        print(f"wrote {path}")
