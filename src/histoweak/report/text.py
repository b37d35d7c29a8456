"""Text and numbers in the form in which they may enter the page."""

import math
import re

from markupsafe import Markup, escape

SCHEME = re.compile(r"https?://", re.IGNORECASE)
# C0 and C1 controls, and the invisible signs that turn the direction of the text around them.
UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")
CODE = re.compile(r"`([^`<>]+)`|(?<![\w-])(--[a-z][a-z-]*)")
DASH = "–"


def clean(value: object) -> str:
    """Text without what would break a page or mislead its reader.

    Controls, turns of direction and halves of surrogate pairs (from file names that are no valid
    Unicode) become a visible replacement sign. Web addresses lose their scheme, so that the page
    holds no address outside itself. Escaping for HTML is left to the template.
    """
    text = str(value).encode("utf-8", "replace").decode("utf-8")
    text = UNSEEN.sub("\ufffd", text.replace("\t", " ").replace("\n", " "))
    while (shorter := SCHEME.sub("", text)) != text:
        text = shorter
    return text


def with_code(value: object) -> Markup:
    """Escaped text in which `words in backticks` and --options are set as code."""
    return Markup(CODE.sub(r"<code>\1\2</code>", str(escape(clean(value)))))  # noqa: S704 - escaped


def shorten(text: str, length: int) -> str:
    """At most `length` signs; what is cut is marked by an ellipsis in the middle.

    Names of patches and patients differ at their ends more often than in their middles.
    """
    if len(text) <= length:
        return text
    head = length // 2
    return f"{text[:head]}…{text[len(text) - (length - head - 1) :]}"


def known(value: float | None) -> bool:
    """Whether a score has a meaning."""
    return value is not None and math.isfinite(value)


def number(value: float | None, digits: int = 3) -> str:
    """A score with fixed digits, or a dash where it has no meaning."""
    if value is None or not math.isfinite(value):
        return DASH
    return f"{value:.{digits}f}"


def percent(value: float | None, unit: str = " %") -> str:
    """A share as percent without digits; small but real shares stay visible."""
    if value is None or not math.isfinite(value):
        return DASH
    if 0 < value < 0.005:
        return f"<1{unit}"
    return f"{100 * value:.0f}{unit}"
