"""Recipes: named settings of a method, one YAML file each, in a folder per method.

`default` is the corrected form of a method, `published` what its released code does; others are
sized for a data set and a machine, such as `glas-cpu`.
"""

from importlib.resources import files
from typing import Any

import yaml

from histoweak.errors import ConfigError

DEFAULT = "default"


def list_recipes(method: str) -> list[str]:
    """Names of the recipes of a method; `default` first, it is the method's own defaults."""
    folder = files(__name__) / method
    found = [f.name.removesuffix(".yaml") for f in folder.iterdir()] if folder.is_dir() else []
    return [DEFAULT, *sorted(name for name in found if name != DEFAULT)]


def read_recipe(method: str, name: str) -> dict[str, Any]:
    """Read the settings of a recipe as plain data.

    Raises:
        ConfigError: the method has no such recipe.
    """
    if name == DEFAULT:
        return {}
    if name not in list_recipes(method):
        raise ConfigError(
            f"method {method!r} has no recipe {name!r}",
            expected=f"one of {', '.join(list_recipes(method))}",
            remedy="`histoweak methods` lists methods and recipes",
        )
    text = (files(__name__) / method / f"{name}.yaml").read_text(encoding="utf-8")
    values: dict[str, Any] = yaml.safe_load(text)
    return values
