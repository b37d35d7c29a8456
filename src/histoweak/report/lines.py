"""Charts with lines: training curves, and the spreads of a statistic over groups."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from histoweak.classes import PALETTE
from histoweak.report.data import Curve, Spread
from histoweak.report.svg import FAINT, INK, WIDTH, Color, drawing, line, rgb, tag, text, whisker
from histoweak.report.text import known, shorten

MOST_POINTS = 240
"""Points drawn of one curve; longer ones are averaged over equal stretches."""

LINE_COLORS = tuple(PALETTE[i] for i in (5, 0, 2, 4, 6, 7))
DASHES = ("none", "6 3", "2 3", "8 3 2 3", "12 4", "1 2")


def curves(title: str, lines: Sequence[Curve]) -> Markup:
    """Training curves that share one scale, told apart by colour and by dashes."""
    left, right, top, bottom = 44.0, WIDTH - 8, 8.0, 180.0
    drawn = [_thinned(curve) for curve in lines]
    values = np.concatenate([y for _, y in drawn])
    x_range = _limits(np.concatenate([np.asarray(curve.steps, float) for curve in lines]))
    y_ticks = _round_ticks(*_limits(values))
    low, high = y_ticks[0], y_ticks[-1]
    parts = [_frame(y_ticks, x_range, (left, right, top, bottom))]
    for i, (curve, (x, y)) in enumerate(zip(lines, drawn, strict=True)):
        across = left + (x - x_range[0]) / (x_range[1] - x_range[0]) * (right - left)
        down = bottom - (y - low) / (high - low) * (bottom - top)
        style = {"stroke": rgb(LINE_COLORS[i % 6]), "stroke_dasharray": DASHES[i % 6]}
        parts.append(tag("path", d=_path(across, down), fill="none", stroke_width=1.8, **style))
        key = 218.0 + 17 * i
        parts.append(line(left, key - 4, left + 30, key - 4, stroke_width=2, **style))
        parts.append(text(left + 38, key, shorten(curve.name, 40), class_="name"))
        if curve.chosen is not None and x_range[0] <= curve.chosen <= x_range[1]:
            at = left + (curve.chosen - x_range[0]) / (x_range[1] - x_range[0]) * (right - left)
            parts.append(line(at, top, at, bottom, stroke=INK, stroke_dasharray="3 3"))
    said = "; ".join(f"{c.name}: {_ends(c)}" for c in lines)
    return drawing(title, said, 208 + 17 * len(lines), *parts)


def spreads(title: str, rows: Sequence[tuple[str, Color, Spread | None]]) -> Markup:
    """Median and quartiles of one statistic for each group, on one scale."""
    left, right, pitch, top = 8.0, WIDTH - 8, 36.0, 2.0
    bottom = top + pitch * len(rows)
    found = [s for _, _, s in rows if s is not None]
    ticks = _round_ticks(*_limits(np.array([v for s in found for v in (s.low, s.median, s.high)])))

    def at(value: float) -> float:
        return left + (value - ticks[0]) / (ticks[-1] - ticks[0]) * (right - left)

    parts = []
    for i, tick in enumerate(ticks):
        anchor = "start" if i == 0 else "end" if i == len(ticks) - 1 else "middle"
        parts.append(line(at(tick), top, at(tick), bottom, stroke=FAINT))
        parts.append(text(at(tick), bottom + 13, f"{tick:g}", class_="tick", text_anchor=anchor))
    for i, (name, color, spread) in enumerate(rows):
        y = top + pitch * i
        parts.append(text(left, y + 13, shorten(name, 36), class_="name"))
        parts.append(text(right, y + 13, _spread_text(spread), class_="value"))
        if spread is not None:
            parts.append(whisker(at(spread.low), at(spread.high), y + 24))
            dot = {"cx": at(spread.median), "cy": y + 24, "r": 5, "stroke": INK}
            parts.append(tag("circle", fill=rgb(color), **dot))
    said = "; ".join(f"{name}: {_spread_text(spread)}" for name, _, spread in rows)
    return drawing(title, said, bottom + 18, *parts)


def _spread_text(spread: Spread | None) -> str:
    if spread is None:
        return "no patches"
    median, low, high = (f"{v:.2f}" for v in (spread.median, spread.low, spread.high))
    return f"{median} ({low} to {high})"


def _thinned(curve: Curve) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    steps, values = np.asarray(curve.steps, float), np.asarray(curve.values, float)
    if len(steps) <= MOST_POINTS:
        return steps, values
    starts = np.linspace(0, len(steps), MOST_POINTS, endpoint=False).astype(int)
    counts = np.diff(np.append(starts, len(steps)))
    return np.add.reduceat(steps, starts) / counts, np.add.reduceat(values, starts) / counts


def _limits(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    if not finite.size:
        return 0.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _round_ticks(low: float, high: float) -> list[float]:
    """Three to seven round numbers that hold the range between them."""
    rough = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= rough)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(step * i, 12) for i in range(first, last + 1)]


def _frame(
    ticks: Sequence[float], x_range: tuple[float, float], box: tuple[float, float, float, float]
) -> Markup:
    left, right, top, bottom = box
    parts = []
    for i, tick in enumerate(ticks):
        y = bottom - i / (len(ticks) - 1) * (bottom - top)
        parts.append(line(left, y, right, y, stroke=FAINT))
        parts.append(text(left - 6, y + 4, f"{tick:g}", class_="tick", text_anchor="end"))
    parts.append(text(left, bottom + 15, f"{x_range[0]:g}", class_="tick"))
    parts.append(text((left + right) / 2, bottom + 15, "step", class_="tick", text_anchor="middle"))
    parts.append(text(right, bottom + 15, f"{x_range[1]:g}", class_="tick", text_anchor="end"))
    return tag("g", *parts)


def _path(across: npt.NDArray[np.float64], down: npt.NDArray[np.float64]) -> str:
    """Path data; a value that is no number lifts the pen."""
    pieces, pen = [], "M"
    for x, y in zip(across.tolist(), down.tolist(), strict=True):
        if not math.isfinite(y):
            pen = "M"
            continue
        pieces.append(f"{pen}{x:.1f} {y:.1f}")
        pen = "L"
    return "".join(pieces)


def _ends(curve: Curve) -> str:
    finite = [v for v in curve.values if known(v)]
    return f"from {finite[0]:.3g} to {finite[-1]:.3g}" if finite else "no values"
