"""What a second round of training takes over from the first."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from histoweak.config import merge


def with_second_round(values: Any, section: str) -> Any:
    """Settings of a method whose second round is as the first where it does not say otherwise.

    Args:
        values: settings as given, before they are validated; anything but a mapping is left as it
            is, for validation to refuse.
        section: name of the second round, with the parts `segmenter` and `teacher`.

    Returns:
        The settings with what `segmenter` says under `SECTION.segmenter`, and its `white` under
        `SECTION.teacher.white`.
    """
    if not isinstance(values, Mapping):
        return values
    first, second = values.get("segmenter", {}), values.get(section)
    first = first.model_dump() if isinstance(first, BaseModel) else first
    if not isinstance(first, Mapping) or not isinstance(second, Mapping):
        return values
    if not isinstance(second.get("segmenter", {}), Mapping):
        return values
    given: dict[str, Any] = {"segmenter": first}
    if "white" in first:
        given["teacher"] = {"white": first["white"]}
    return {**values, section: merge([given, second])}
