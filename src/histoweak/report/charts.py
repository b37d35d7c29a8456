"""Charts of scores: bars with intervals, one line per patient, the confusion picture."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from histoweak.classes import ClassSet
from histoweak.report.data import Bounds, PatientRow, Score
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
        parts.append(text(8, y + 13, shorten(row.name, 40), class_="name"))
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
    left, right, pitch, top = 96.0, WIDTH - 44, 22.0, 4.0
    bottom = top + pitch * len(rows)
    parts = [_axis(left, right, top, bottom)]
    for i, row in enumerate(rows):
        y = top + pitch * (i + 0.5)
        parts.append(text(0, y + 4, shorten(row.patient, 14), class_="name"))
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
    shares = _row_shares(counts)
    names = [*classes.names, *["no class"] * (counts.shape[1] - len(classes))]
    left, head = 88.0, 70.0
    cell = (WIDTH - left - 2) / len(names)
    tall = min(cell, 64.0)
    parts = []
    for j, name in enumerate(names):
        x = left + cell * (j + 0.5)
        slant = f"rotate(-40 {x:.1f} {head - 8:g})"
        parts.append(text(x - 4, head - 8, shorten(name, 12), class_="name", transform=slant))
    for i, name in enumerate(classes.names):
        y = head + tall * i
        middle = y + tall / 2
        parts.append(marker(i, 6, middle, 5, classes.colors[i]))
        parts.append(text(16, middle + 4, shorten(name, 11), class_="name"))
        for j, share in enumerate(shares[i]):
            parts.append(_confusion_cell(left + cell * j, y, (cell, tall), share, i == j))
    said = "; ".join(
        f"true {name}: " + ", ".join(f"{n} {percent(s)}" for n, s in zip(names, row, strict=True))
        for name, row in zip(classes.names, shares.tolist(), strict=True)
    )
    return drawing(title, said, head + tall * len(classes) + 2, *parts)


def _confusion_cell(
    x: float, y: float, size: tuple[float, float], share: float, right: bool
) -> Markup:
    weight = share if known(share) else 0.0
    # From near white to dark blue; the words turn white where the ground is dark.
    pale, dark = np.array([245, 247, 250]), np.array([22, 62, 112])
    red, green, blue = (pale + (dark - pale) * weight**0.8).astype(int).tolist()
    width, height = size
    box = rect(
        x + 1,
        y + 1,
        width - 2,
        height - 2,
        rx=2,
        fill=rgb((red, green, blue)),
        stroke=INK if right else "none",
    )
    if width < 30:
        return box
    said = text(
        x + width / 2,
        y + height / 2 + 4,
        percent(share),
        text_anchor="middle",
        class_="light" if weight > 0.45 else "name",
    )
    return box + said


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
