"""Configuration: frozen models that refuse what they do not know, and how they are read."""

import contextlib
import difflib
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic.fields import FieldInfo

from histoweak.errors import ConfigError

MAX_CONFIG_BYTES = 1_000_000

# Shortens values in messages: YAML aliases can make a small file longer than any memory.
_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxother = 2, 100, 100


class StrictConfig(BaseModel):
    """Base of every configuration: frozen, and an unknown key is an error.

    A mapping given for a nested section changes the keys that it names and leaves the others at
    what this configuration, not the class of the section, has by default.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _keep_siblings(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        fields = cls.model_fields
        return {
            key: _laid_over(fields[key], fields[key].default, value) if key in fields else value
            for key, value in values.items()
        }


def _laid_over(field: FieldInfo, default: Any, value: Any) -> Any:
    """A mapping with the keys of a default section that it does not name; others as they are."""
    if not isinstance(default, BaseModel) or not isinstance(value, Mapping):
        return value
    # Of a union, the mapping may mean another choice, which knows none of these keys.
    if len(set(_models_in(field.annotation))) > 1:
        return value
    fields, kept = type(default).model_fields, dict(default)
    named = {
        key: _laid_over(fields[key], kept[key], inner) if key in fields else inner
        for key, inner in value.items()
    }
    return kept | named


ConfigT = TypeVar("ConfigT", bound=StrictConfig)


def build_config(model: type[ConfigT], values: Mapping[str, Any], where: str | Path) -> ConfigT:
    """Validate plain values against a configuration model.

    Args:
        model: the configuration class.
        values: nested plain data, as read from YAML.
        where: what to name in errors, usually the file.

    Raises:
        ConfigError: an unknown key (the message names the nearest one) or an invalid value.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            known = _keys_beside(model, first["loc"])
            close = difflib.get_close_matches(str(first["loc"][-1]), known, n=1, cutoff=0.4)
            remedy = f"Did you mean {close[0]!r}?" if close else f"Known here: {', '.join(known)}"
            raise ConfigError(f"unknown key {path!r}", where=where, remedy=remedy) from error
        # A rule about several fields belongs to none of them: its reason says it all.
        value = f"{path} = {_SHORT.repr(first.get('input'))}: " if path else ""
        raise ConfigError(
            value + first["msg"],
            where=where,
            remedy="Correct the value; docs/reference/configuration.md lists them",
        ) from error


def _keys_beside(model: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    """Names that would have been right where an unknown key stands."""
    here = [model]
    for part in loc[:-1]:
        found = [m.model_fields[str(part)].annotation for m in here if str(part) in m.model_fields]
        # Places in a list and choices of a union are no fields: stay.
        here = [m for annotation in found for m in _models_in(annotation)] or here
    return list(dict.fromkeys(name for m in here for name in m.model_fields))


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """Configuration models that an annotation such as `tuple[A, ...] | None` names."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models_in(part)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds one mapping.

    Raises:
        ConfigError: missing, too large, not YAML, or no mapping.
    """
    remedy = "Give a YAML file of settings; `histoweak methods` lists the shipped recipes"
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise ConfigError("larger than 1 MB", where=path, remedy=remedy)
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    # ValueError: dates and numbers that are none, and bytes that are no text.
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        reason = str(error).replace("\n", " ")
        raise ConfigError(f"cannot be read ({reason})", where=path, remedy=remedy) from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(
            f"holds a {type(values).__name__}", where=path, expected="a mapping", remedy=remedy
        )
    return values


def parse_setting(text: str) -> dict[str, Any]:
    """Turn `segmenter.fit.optim.lr=1e-3` into nested plain data.

    Raises:
        ConfigError: there is no `=` or no key.
    """
    key, equals, raw = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(
            f"{text!r} is no setting",
            where="--set",
            expected="KEY=VALUE, for example segmenter.fit.optim.lr=1e-3",
            remedy="Write the setting as KEY=VALUE",
        )
    try:
        value: Any = yaml.safe_load(raw)
    except (ValueError, yaml.YAMLError, RecursionError):
        value = raw
    if isinstance(value, str):
        # YAML 1.1 reads 1e-3 as text; people mean the number.
        with contextlib.suppress(ValueError):
            value = float(value)
    for part in reversed(key.strip().split(".")):
        value = {part: value}
    return dict(value)


def merge(layers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Merge nested mappings; later layers win key by key."""
    merged: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            old = merged.get(key)
            both = isinstance(old, dict) and isinstance(value, Mapping)
            merged[key] = merge([old, value]) if both else value  # type: ignore[list-item]
    return merged
