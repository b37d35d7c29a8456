"""Keys of stages: equal keys mean that the artefacts are equal."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from enum import Enum
from pathlib import Path, PurePath
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from histoweak.pipeline.stage import Stage

SHORT_KEY = 16
"""Hexadecimal digits of a key that folder names carry."""


def stage_key(stage: Stage, seed: int, input_keys: Sequence[str], digest: str) -> str:
    """Hash everything that decides what a stage writes.

    That is its name, version and config, the seed, the keys of its inputs, the content of its
    files and, unless the stage says it needs none, that of the manifest. Not the method: methods
    share stages.

    Args:
        stage: the stage.
        seed: the seed of the run.
        input_keys: the keys of the stages named in `stage.inputs`, in any order.
        digest: digest of the manifest's content.

    Returns:
        64 hexadecimal digits (SHA-256).

    Raises:
        TypeError: the config holds a value of a type that has no one text form.
    """
    parts: dict[str, Any] = {
        "name": stage.name,
        "version": stage.version,
        "config": decisive_values(stage.config),
        "seed": seed,
        "inputs": sorted(input_keys),
        "data": digest if stage.uses_data else None,
    }
    if stage.files:
        parts["files"] = [_content(path) for path in stage.files]
    return hashlib.sha256(canonical_json(parts).encode()).hexdigest()


def stage_keys(stages: Sequence[Stage], seed: int, digest: str) -> dict[str, str]:
    """Key of each stage by name; inputs come before the stages that read them."""
    keys: dict[str, str] = {}
    for stage in stages:
        inputs = [keys[name] for name in stage.inputs]
        keys[stage.name] = stage_key(stage, seed, inputs, digest)
    return keys


def canonical_json(value: Any) -> str:
    """JSON that is the same text for equal values: sorted keys, no spaces, exact floats."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def decisive_values(value: Any) -> Any:
    """Plain data of a config, at any depth without the fields that do not affect the result.

    Walks the model rather than dumping it, for a dumped set has the order of this process.
    A path counts as the text it is, not as the content of the file.

    Raises:
        TypeError: a value is of a type that has no one text form.
    """
    if isinstance(value, Enum):
        return decisive_values(value.value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, BaseModel):
        fields = type(value).model_fields
        named = {n: getattr(value, n) for n, field in fields.items() if _affects_result(field)}
        return decisive_values(named | (value.model_extra or {}))
    if isinstance(value, PurePath):
        return value.as_posix()
    if isinstance(value, Mapping):
        return {str(key): decisive_values(inner) for key, inner in value.items()}
    if isinstance(value, AbstractSet):
        return sorted((decisive_values(inner) for inner in value), key=canonical_json)
    if isinstance(value, list | tuple):
        return [decisive_values(inner) for inner in value]
    raise TypeError(f"a config value of type {type(value).__name__} cannot be part of a key")


def _content(path: Path) -> str | None:
    """SHA-256 of a file; None where it cannot be read, which the stage has to say."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def _affects_result(field: FieldInfo) -> bool:
    extra = field.json_schema_extra
    return not (isinstance(extra, dict) and extra.get("affects_result") is False)
