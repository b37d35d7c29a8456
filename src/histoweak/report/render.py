"""Turns the data of a report into one HTML file."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from histoweak.atomic import replacing
from histoweak.classes import ClassSet
from histoweak.export.png import SCORE_ANCHORS
from histoweak.report import charts, lines
from histoweak.report.colors import report_classes
from histoweak.report.data import Curve, LadderRow, PatientRow, ReportData
from histoweak.report.evidence import MOST_PATIENTS, evidence_view
from histoweak.report.gallery import gallery_view
from histoweak.report.measures import MeasureTable
from histoweak.report.protocol import Protocol
from histoweak.report.svg import drawing, marker, rgb
from histoweak.report.text import clean, known, number, percent, with_code

# Scores of the steps that stand in a second table; the key is the field of `LadderRow`.
FURTHER = (
    ("miou_zero", "Mean IoU, absent class as 0"),
    ("recall", "Mean class recall"),
    ("image_miou", "mIoU averaged over images"),
    ("boundary_f", "Boundary F"),
    ("boundary_iou", "Boundary IoU"),
)


def render(data: ReportData) -> str:
    """The report as one HTML page with nothing outside itself; equal data give equal pages.

    Of more than `MOST_PATIENTS` patients those with the lowest mean IoU are shown.
    """
    hidden = max(0, len(data.patients) - MOST_PATIENTS)
    own, shown = data.classes, _worst(data.patients) if hidden else data.patients
    data = replace(data, classes=report_classes(own), patients=shown)
    template = environment().get_template("report.html.j2")
    return template.render(
        data=data,
        replaced_colors=data.classes.colors != own.colors,
        hidden_patients=hidden,
        signs=[_sign(i, data.classes) for i in range(len(data.classes))],
        headline=_headline(data.ladder),
        ladder_chart=_ladder_chart(data),
        further=_further(data.ladder),
        measure_chart=partial(_measure_chart, data.classes),
        class_charts=_class_charts(data),
        protocol=(protocol := _headline_protocol(data)),
        cautions=[*protocol.cautions(), *data.notes],
        step_protocols=_step_protocols(data),
        galleries=[gallery_view(g, data.classes) for g in data.galleries if g.samples],
        ramp=",".join(rgb(color) for color in SCORE_ANCHORS),
        evidence=None if data.evidence is None else evidence_view(data.evidence),
        panels=_panels(data.curves),
    )


def write_report(path: Path, data: ReportData) -> None:
    """Write the report; the file appears whole or not at all.

    Raises:
        OutputError: the file cannot be written.
    """
    page = render(data)
    with replacing(path) as working:
        working.write_text(page, encoding="utf-8", newline="\n")


@cache
def environment() -> Environment:
    """Templates of the package: all text is cleaned and escaped, unknown names are errors."""
    made = Environment(
        loader=PackageLoader("histoweak.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: value if isinstance(value, Markup) else clean(value),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(number=number, percent=percent, with_code=with_code)
    made.tests["scalars"] = _all_scalars
    made.globals.update(charts=charts)
    return made


def _worst(rows: Sequence[PatientRow]) -> list[PatientRow]:
    """The patients with the lowest mean IoU; those without any come last."""

    def order(row: PatientRow) -> float:
        return row.miou if row.miou is not None and known(row.miou) else 2.0

    return sorted(rows, key=order)[:MOST_PATIENTS]


def _sign(index: int, classes: ClassSet) -> Markup:
    sign = marker(index, 8, 8, 6, classes.colors[index])
    return drawing(classes.names[index], "sign of the class", 16, sign, width=16)


def _headline(ladder: Sequence[LadderRow]) -> LadderRow | None:
    """The last step of the method itself: what the run is about."""
    steps = [row for row in ladder if not row.reference]
    return steps[-1] if steps else None


def _headline_protocol(data: ReportData) -> Protocol:
    headline = _headline(data.ladder)
    return data.protocol if headline is None else headline.protocol or data.protocol


def _step_protocols(data: ReportData) -> list[tuple[str, Protocol]]:
    """Each protocol of the ladder with the steps it holds for; no names if it holds for all."""
    groups: dict[Protocol, list[str]] = {}
    for row in data.ladder:
        groups.setdefault(row.protocol or data.protocol, []).append(row.name)
    return [("" if len(groups) == 1 else ", ".join(n), protocol) for protocol, n in groups.items()]


def _all_scalars(values: Sequence[object]) -> bool:
    return not any(isinstance(v, Mapping | list | tuple) for v in values)


def _ladder_chart(data: ReportData) -> Markup:
    rows = [
        charts.Bar(row.name, row.miou, row.interval, _step_color(row.reference))
        for row in data.ladder
    ]
    return charts.bars("Mean IoU of each step", rows)


def _class_charts(data: ReportData) -> list[Markup]:
    found = []
    for k, name in enumerate(data.classes.names):
        rows = [
            charts.Bar(
                row.name,
                row.iou[k],
                None if row.class_intervals is None else row.class_intervals[k],
                charts.REFERENCE_COLOR if row.reference else data.classes.colors[k],
            )
            for row in data.ladder
        ]
        found.append(charts.bars(f"IoU of {name}", rows))
    return found


def _further(ladder: Sequence[LadderRow]) -> list[tuple[str, str]]:
    """Heading and field of the further scores that at least one step has."""
    return [(n, key) for key, n in FURTHER if any(known(getattr(r, key).value) for r in ladder)]


def _measure_chart(classes: ClassSet, table: MeasureTable) -> Markup:
    """The first measure of a table, class by class; the mean last."""
    first = table.measures[0]
    colors = [*classes.colors, charts.STEP_COLOR]
    rows = [
        charts.Bar(name, one.value, one.interval, color)
        for name, one, color in zip(
            (*classes.names, "mean"), (*first.classes, first.mean), colors, strict=True
        )
    ]
    return charts.bars(f"{first.name} {table.title}".strip(), rows)


def _step_color(reference: bool) -> tuple[int, int, int]:
    return charts.REFERENCE_COLOR if reference else charts.STEP_COLOR


def _panels(curves: Sequence[Curve]) -> list[tuple[str, Markup]]:
    names = dict.fromkeys(curve.panel for curve in curves if any(known(v) for v in curve.values))
    return [(n, lines.curves(n, [curve for curve in curves if curve.panel == n])) for n in names]
