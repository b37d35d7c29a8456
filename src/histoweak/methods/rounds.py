"""What one round of training takes over from the settings of another."""

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel

from histoweak.config import merge


def with_second_round(values: Any, section: str) -> Any:
    """Settings of a method whose second round is as the first where it does not say otherwise.

    Args:
        values: settings as given; see `laid_under`.
        section: name of the second round, with the parts `segmenter` and `teacher`.

    Returns:
        The settings with what `segmenter` says under `SECTION.segmenter`, and its `white` under
        `SECTION.teacher.white`.
    """

    def given(segmenter: Mapping[str, Any]) -> dict[str, Any]:
        teacher = {key: segmenter[key] for key in ("white",) if key in segmenter}
        return {"segmenter": segmenter, "teacher": teacher}

    return laid_under(values, "segmenter", section, given)


def laid_under(
    values: Any, part: str, section: str, given: Callable[[Mapping[str, Any]], dict[str, Any]]
) -> Any:
    """Settings in which one round gives another what that one leaves open.

    Args:
        values: settings as given, before they are validated; anything but a mapping is left as it
            is, for validation to refuse.
        part: settings of the round that gives.
        section: settings of the round that takes; where it has none there is nothing to do.
        given: from the settings of the part to what the section begins with.
    """
    if not isinstance(values, Mapping):
        return values
    giver, taker = values.get(part, {}), values.get(section)
    giver = giver.model_dump() if isinstance(giver, BaseModel) else giver
    if not isinstance(giver, Mapping) or not isinstance(taker, Mapping):
        return values
    return {**values, section: merge([given(giver), taker])}
