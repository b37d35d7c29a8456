"""Charts of scores: bars with intervals, one line per patient, the confusion picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import wrap

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from histoweak.classes import ClassSet
from histoweak.report.data import PatientRow
from histoweak.report.measures import Bounds, Score
from histoweak.report.svg import (
    FAINT,
    INK,
    WIDTH,
    Color,
    drawing,
    line,
    marker,
    rect,
    rgb,
    tag,
    text,
    whisker,
)
from histoweak.report.text import known, number, percent, shorten

PALE, DARK = np.array([245, 247, 250]), np.array([22, 62, 112])
TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)
STEP_COLOR: Color = (74, 110, 148)
REFERENCE_COLOR: Color = (196, 201, 208)


@dataclass(frozen=True)
class Bar:
    """One score in [0, 1] with its name, interval and colour."""

    name: str
    value: Score
    interval: Bounds | None = None
    color: Color = STEP_COLOR


def bars(title: str, rows: Sequence[Bar]) -> Markup:
    """Horizontal bars from 0 to 1, names above them, intervals as whiskers."""
    pitch, top = 38.0, 4.0
    bottom = top + pitch * len(rows)
    parts = [_axis(8, WIDTH - 8, top, bottom)]
    for i, row in enumerate(rows):
        y = top + pitch * i
        parts.append(text(8, y + 13, shorten(row.name, 34), class_="name"))
        parts.append(text(WIDTH - 8, y + 13, number(row.value), class_="value"))
        if row.value is not None and known(row.value):
            x = _at(row.value, 8, WIDTH - 8)
            parts.append(rect(8, y + 19, x - 8, 12, fill=rgb(row.color), stroke=INK))
        if row.interval is not None and known(row.interval[0]) and known(row.interval[1]):
            low, high = (_at(v, 8, WIDTH - 8) for v in row.interval)
            parts.append(whisker(low, high, y + 25))
    said = "; ".join(f"{row.name}: {_said(row.value, row.interval)}" for row in rows)
    return drawing(title, said, bottom + 18, *parts)


def patients(title: str, rows: Sequence[PatientRow], classes: ClassSet) -> Markup:
    """For each patient a bar for the mean IoU and the marks of the classes on the same line."""
    left, right, pitch, top = 110.0, WIDTH - 44, 22.0, 4.0
    bottom = top + pitch * len(rows)
    parts = [_axis(left, right, top, bottom)]
    for i, row in enumerate(rows):
        y = top + pitch * (i + 0.5)
        parts.append(text(0, y + 4, shorten(row.patient, 13), class_="name"))
        parts.append(text(WIDTH, y + 4, number(row.miou, 2), class_="value"))
        if row.miou is not None and known(row.miou):
            x = _at(row.miou, left, right)
            parts.append(rect(left, y - 5, x - left, 10, fill=rgb(REFERENCE_COLOR)))
            parts.append(line(x, y - 8, x, y + 8, stroke=INK, stroke_width=2))
        for k, value in enumerate(row.iou):
            if value is not None and known(value):
                parts.append(marker(k, _at(value, left, right), y, 4, classes.colors[k]))
    said = "; ".join(f"{row.patient}: {number(row.miou)}" for row in rows)
    return drawing(title, f"Mean IoU by patient. {said}", bottom + 18, *parts)


def confusion(title: str, counts: npt.NDArray[np.integer], classes: ClassSet) -> Markup:
    """Shares of each true class (rows) that were given to each class (columns)."""
    columns = _column_names(counts, classes)
    left, head = 104.0, 104.0
    cell = (WIDTH - left - 26) / len(columns)  # the last slanted name needs room to its right
    parts = [_cells(_row_shares(counts), (left, head), cell, " %" if cell >= 36 else "")]
    for j, name in enumerate(columns):
        x = left + cell * (j + 0.5)
        slant = f"rotate(-48 {x:.1f} {head - 8:g})"
        room = int((WIDTH - x) / 4.8)  # signs that fit before the slanted name leaves the picture
        name = shorten(name, min(18, room))
        parts.append(text(x, head - 8, name, class_="name", transform=slant))
    for i, name in enumerate(classes.names):
        y = head + cell * (i + 0.5)
        parts.append(marker(i, 6, y, 5, classes.colors[i]))
        words = wrap(shorten(name, 24), 12)[:2] if cell >= 30 else [shorten(name, 12)]
        for n, word in enumerate(words):
            parts.append(text(16, y + 11 - 7 * len(words) + 14 * n, word, class_="name"))
    return drawing(title, _said_rows(counts, classes), head + cell * len(classes) + 2, *parts)


def confusion_small(title: str, counts: npt.NDArray[np.integer], classes: ClassSet) -> Markup:
    """The same in the space of a stamp: signs stand for the names, figures are percent."""
    columns = _column_names(counts, classes)
    side, edge = 170.0, 18.0
    cell = (side - edge) / len(columns)
    parts = [_cells(_row_shares(counts), (edge, edge), cell, "")]
    for i, color in enumerate(classes.colors):
        middle = edge + cell * (i + 0.5)
        parts.append(marker(i, middle, 8, 5, color))
        parts.append(marker(i, 8, middle, 5, color))
    if len(columns) > len(classes):
        at = {"x": side - cell / 2, "y": 12.0, "class_": "tick", "text_anchor": "middle"}
        parts.append(tag("text", "none", **at))
    height = edge + cell * len(classes)
    return drawing(title, _said_rows(counts, classes), height, *parts, width=side)


def _column_names(counts: npt.NDArray[np.integer], classes: ClassSet) -> list[str]:
    return [*classes.names, *["none"] * (counts.shape[1] - len(classes))]


def _said_rows(counts: npt.NDArray[np.integer], classes: ClassSet) -> str:
    columns, shares = _column_names(counts, classes), _row_shares(counts).tolist()
    return "; ".join(
        f"true {name}: " + ", ".join(f"{n} {percent(s)}" for n, s in zip(columns, row, strict=True))
        for name, row in zip(classes.names, shares, strict=True)
    )


def _cells(
    shares: npt.NDArray[np.float64], corner: tuple[float, float], cell: float, unit: str
) -> Markup:
    """A square of `cell` pixels for each share, the diagonal framed."""
    parts = []
    for (i, j), share in np.ndenumerate(shares):
        x, y = corner[0] + cell * j, corner[1] + cell * i
        weight = float(share) if known(share) else 0.0
        # From near white to dark blue; figures turn white where the ground is dark.
        red, green, blue = (PALE + (DARK - PALE) * weight**0.8).astype(int).tolist()
        frame = {"rx": 2, "fill": rgb((red, green, blue)), "stroke": INK if i == j else "none"}
        parts.append(rect(x + 1, y + 1, cell - 2, cell - 2, **frame))
        if cell >= 18:
            tone = "light" if weight > 0.45 else "name"
            at = {"x": x + cell / 2, "y": y + cell / 2 + 4, "text_anchor": "middle"}
            parts.append(tag("text", percent(share, unit), class_=tone, **at))
    return tag("g", *parts)


def share_bar(title: str, counts: Sequence[int], colors: Sequence[Color]) -> Markup:
    """One thin bar, parted by counts; for the rows of a table."""
    total, x, parts = max(sum(counts), 1), 0.0, []
    for count, color in zip(counts, colors, strict=True):
        width = 120 * count / total
        parts.append(rect(x, 1, width - 0.8, 12, fill=rgb(color)))
        x += width
    said = ", ".join(str(count) for count in counts)
    return drawing(title, said, 14, *parts, width=120)


def _axis(left: float, right: float, top: float, bottom: float) -> Markup:
    parts = []
    for tick in TICKS:
        x = _at(tick, left, right)
        parts.append(line(x, top, x, bottom, stroke=FAINT))
        anchor = "middle" if left > 20 or 0 < tick < 1 else ("start" if tick == 0 else "end")
        parts.append(text(x, bottom + 13, f"{tick:g}", class_="tick", text_anchor=anchor))
    return tag("g", *parts)


def _at(value: float, left: float, right: float) -> float:
    return left + min(max(value, 0.0), 1.0) * (right - left)


def _said(value: Score, interval: Bounds | None) -> str:
    if interval is None:
        return number(value)
    return f"{number(value)}, interval {number(interval[0])} to {number(interval[1])}"


def _row_shares(counts: npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
    totals = counts.sum(1, keepdims=True)
    nothing = np.full(counts.shape, np.nan)
    return np.asarray(np.divide(counts, totals, out=nothing, where=totals > 0))
