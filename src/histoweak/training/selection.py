"""Which checkpoints a configuration chooses, over all networks that a method trains."""

from collections.abc import Iterator
from typing import TypeVar, get_args

from pydantic import BaseModel

from histoweak.config import StrictConfig, build_config
from histoweak.data.manifest import Manifest
from histoweak.errors import ManifestError
from histoweak.training.config import FitConfig, Select

ConfigT = TypeVar("ConfigT", bound=StrictConfig)


def selection_of(config: BaseModel) -> Select:
    """The choice that saw the most: one network chosen by masks makes all figures so chosen."""
    order = get_args(Select)
    return max((fit.select for fit in _fits(config)), key=order.index, default="last")


def with_selection(config: ConfigT, select: str) -> ConfigT:
    """Return the configuration with all networks chosen in one way.

    Raises:
        ConfigError: there is no such choice.
    """
    known = build_config(FitConfig, {"select": select}, "--select").select
    return _replaced(config, known)


def require_validation(manifest: Manifest, select: Select) -> None:
    """Refuse a choice that the validation split cannot make; better before training than after.

    Raises:
        ManifestError: no row of it has what is needed.
    """
    if select == "last":
        return
    rows = manifest.split("val")
    lacking = [] if any(r.labels for r in rows) else ["labels"]
    if select == "val-mask" and not any(r.mask for r in rows):
        lacking.append("masks")
    if lacking:
        raise ManifestError(
            f"select={select}, but none of {len(rows)} val rows has {' or '.join(lacking)}",
            where=manifest.path,
            remedy=f"Add {' and '.join(lacking)} to val rows, or use --select last",
        )


def _fits(config: BaseModel) -> Iterator[FitConfig]:
    for name in type(config).model_fields:
        value = getattr(config, name)
        if isinstance(value, FitConfig):
            yield value
        elif isinstance(value, BaseModel):
            yield from _fits(value)


def _replaced(config: ConfigT, select: Select) -> ConfigT:
    changed: dict[str, object] = {
        name: _replaced(value, select)
        for name in type(config).model_fields
        if isinstance(value := getattr(config, name), StrictConfig)
    }
    if isinstance(config, FitConfig):
        changed["select"] = select
    return config.model_copy(update=changed)
