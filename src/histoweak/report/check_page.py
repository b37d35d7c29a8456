"""The page of a data check: findings with pictures, contents, spread. One file, as the report."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from markupsafe import Markup
from PIL import Image

from histoweak.atomic import replacing
from histoweak.data.check import SEVERITIES, CheckResult, Finding, Item, outliers
from histoweak.data.check.summary import SplitSummary
from histoweak.data.images import read_image, read_mask
from histoweak.errors import ImageError
from histoweak.export.png import overlay
from histoweak.report.colors import report_classes
from histoweak.report.gallery import data_uri
from histoweak.report.render import environment
from histoweak.report.svg import FAINT, INK, WIDTH, drawing, line, rect, text
from histoweak.report.text import shorten

PICTURE_SIDE = 200
PICTURES_PER_CASE = 4
FACTS = 30
SHOWN = 4  # sizes and scales named for each split
WITH_MASK = frozenset({"label-against-mask"})
BINS = 30
BAR = "rgb(74,110,148)"


@dataclass(frozen=True)
class Picture:
    """One image of a case; `uri` is None where it cannot be shown."""

    name: str
    row: int
    split: str
    uri: str | None


@dataclass(frozen=True)
class Case:
    """One case of a finding with its first pictures; `more` images are not shown."""

    note: str
    pictures: tuple[Picture, ...]
    more: int


@dataclass(frozen=True)
class FindingView:
    """What the template shows of a finding; `more` cases are not shown."""

    code: str
    severity: str
    title: str
    meaning: str
    count: int
    facts: tuple[str, ...]
    cases: tuple[Case, ...]
    more: int


def write_check_page(path: Path, result: CheckResult, limit_pictures: int = 12) -> None:
    """Write the page; the file appears whole or not at all.

    Args:
        path: the HTML file.
        result: of the check.
        limit_pictures: cases of each finding that are shown with pictures.

    Raises:
        OutputError: the file cannot be written.
    """
    page = render_check(result, limit_pictures)
    with replacing(path) as working:
        working.write_text(page, encoding="utf-8", newline="\n")


def render_check(result: CheckResult, limit_pictures: int = 12) -> str:
    """The check as one HTML page with nothing outside itself."""
    manifest = result.checked.manifest
    return (
        environment()
        .get_template("check.html.j2")
        .render(
            name=manifest.path.name if manifest.path is not None else "manifest",
            lede=_lede(result),
            images=len(manifest.records),
            counts=result.counts,
            findings=[_view(result, finding, limit_pictures) for finding in result.findings],
            splits=result.splits,
            classes=manifest.classes.names,
            sizes=_sizes,
            scales=_scales,
            charts=_charts(result),
            thresholds=result.config.model_dump(mode="json"),
        )
    )


def _lede(result: CheckResult) -> str:
    if not result.findings:
        return "Nothing was found that speaks against training on this data set."
    kinds = [f"{n} {s}{'' if n == 1 else 's'}" for s in SEVERITIES if (n := result.counts[s])]
    advice = "Correct the errors first." if result.counts["error"] else "No errors."
    return f"The check found {', '.join(kinds)}. {advice}"


def _view(result: CheckResult, finding: Finding, limit: int) -> FindingView:
    pictured = [item for item in finding.items if item.images]
    facts = [item.note for item in finding.items if not item.images]
    cases = [_case(result, finding.code, item) for item in pictured[:limit]]
    return FindingView(
        code=finding.code,
        severity=finding.severity,
        title=finding.title,
        meaning=finding.meaning,
        count=len(finding.items),
        facts=tuple(facts[:FACTS]),
        cases=tuple(cases),
        more=len(finding.items) - len(cases) - len(facts[:FACTS]),
    )


def _case(result: CheckResult, code: str, item: Item) -> Case:
    shown = item.images[:PICTURES_PER_CASE]
    pictures = tuple(_picture(result, position, code in WITH_MASK) for position in shown)
    return Case(item.note, pictures, len(item.images) - len(shown))


def _picture(result: CheckResult, position: int, with_mask: bool) -> Picture:
    record = result.checked.manifest.records[position]
    classes = report_classes(result.checked.manifest.classes)
    name = shorten(record.image.name, 60)
    if result.checked.facts[position].problem:
        return Picture(name, record.row, record.split, None)
    try:
        image = read_image(record.image)
        small = _shrunk(image)
        if with_mask and record.mask is not None:
            small = overlay(small, read_mask(record.mask, len(classes), image.shape[:2]), classes)
    except ImageError:  # it changed since it was measured
        return Picture(name, record.row, record.split, None)
    return Picture(name, record.row, record.split, data_uri(small))


def _shrunk(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """At most `PICTURE_SIDE` pixels a side; tiny images grow, so that their pixels can be seen."""
    picture = Image.fromarray(image)
    scale = PICTURE_SIDE / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    method = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS
    return np.asarray(picture.resize(size, method, reducing_gap=2.0))


def _sizes(split: SplitSummary) -> str:
    return _list([(f"{h}x{w}", n) for (h, w), n in split.sizes])


def _scales(split: SplitSummary) -> str:
    return _list([("unknown" if mpp is None else f"{mpp:g}", n) for mpp, n in split.mpp])


def _list(counts: Sequence[tuple[str, int]]) -> str:
    if len(counts) == 1:
        return counts[0][0]
    said = [f"{name} ({n})" for name, n in counts[:SHOWN]]
    rest = len(counts) - SHOWN
    return ", ".join([*said, *([f"{rest} others"] if rest > 0 else [])])


def _charts(result: CheckResult) -> list[tuple[str, Markup]]:
    """Histograms of what is measured on every image, with the thresholds."""
    measures: list[tuple[str, outliers.Measure]] = [
        ("Amount of haematoxylin, optical density", outliers.HAEMATOXYLIN),
        ("Amount of eosin, optical density", outliers.EOSIN),
        ("Colour that is neither, optical density", outliers.OTHER_COLOR),
        ("Sharpness, logarithm of the Laplacian's variance", outliers.SHARPNESS),
    ]
    charts = []
    for title, measure in measures:
        values = outliers.values_of(result.checked, measure)
        spread = outliers.spread_of(values, measure)
        limits = []
        if spread is not None:
            reach = result.config.deviations * spread.deviation
            limits = [spread.median - reach] + [spread.median + reach] * (not measure.low_only)
        charts.append((title, _histogram(title, values, limits)))
    white = np.array([np.nan if f.white is None else f.white for f in result.checked.facts])
    title = "Share of white"
    charts.append((title, _histogram(title, white, [result.config.white])))
    return [(title, chart) for title, chart in charts if chart is not None]


def _histogram(
    title: str, values: npt.NDArray[np.float64], limits: Sequence[float]
) -> Markup | None:
    """Counts of images in equal steps, thresholds dashed; None where nothing was measured."""
    values = values[np.isfinite(values)]
    if not values.size:
        return None
    low, high = (float(v) for v in (values.min(), values.max()))
    low, high = (low, high) if high > low else (low - 0.5, high + 0.5)
    counts, edges = np.histogram(values, BINS, (low, high))
    left, right, top, bottom = 8.0, WIDTH - 8, 6.0, 116.0

    def at(value: float) -> float:
        return left + (value - low) / (high - low) * (right - left)

    parts: list[Any] = [line(left, bottom, right, bottom, stroke=FAINT)]
    for count, start in zip(counts.tolist(), edges.tolist(), strict=False):
        height = (bottom - top) * count / max(1, int(counts.max()))
        width = (right - left) / BINS - 1
        parts.append(rect(at(start), bottom - height, width, height, fill=BAR))
    marks = [limit for limit in limits if low <= limit <= high]
    parts += [line(at(m), top, at(m), bottom, stroke=INK, stroke_dasharray="4 3") for m in marks]
    ends = ((left, low, "start"), (right, high, "end"))
    parts += [text(x, bottom + 14, f"{v:.2f}", class_="tick", text_anchor=a) for x, v, a in ends]
    said = f"{values.size} images from {low:.2f} to {high:.2f}, median {np.median(values):.2f}"
    return drawing(title, said, bottom + 20, *parts)
