"""The analysis of misclassified patches, made ready for the page."""

from dataclasses import dataclass

from markupsafe import Markup

from histoweak.classes import PALETTE
from histoweak.report.charts import share_bar
from histoweak.report.data import EvidenceTable
from histoweak.report.lines import spreads
from histoweak.report.protocol import Protocol
from histoweak.report.svg import rgb

# (class right, evidence right), name and colour: blue, orange, light blue and dark grey differ in
# lightness too.
KINDS = (
    (True, True, "Right class, right evidence", PALETTE[5]),
    (True, False, "Right class, wrong evidence", PALETTE[6]),
    (False, True, "Wrong class, right evidence", PALETTE[1]),
    (False, False, "Wrong class, wrong evidence", (60, 60, 60)),
)

MOST_PATIENTS = 100
"""Patients shown one by one: where every image counts as a patient there may be thousands."""


@dataclass(frozen=True)
class CellView:
    """One cell of the cross table; `concern` marks "right for the wrong reason"."""

    name: str
    color: str
    patches: int
    share: float | None
    concern: bool


@dataclass(frozen=True)
class EvidenceView:
    """What the template shows of an `EvidenceTable`; `hidden` patients are not shown."""

    rule: str
    protocol: Protocol | None
    wrong: int
    total: int
    cells: tuple[CellView, ...]
    rows: tuple[tuple[str, tuple[int, ...], Markup], ...]
    hidden: int
    spreads: tuple[tuple[str, Markup], ...]


def evidence_view(table: EvidenceTable) -> EvidenceView:
    """Count, draw and name the cells of a table, always in the same order."""
    cells = [table.cell(class_right, evidence_right) for class_right, evidence_right, _, _ in KINDS]
    named = [(cell, name, color) for cell, (_, _, name, color) in zip(cells, KINDS, strict=True)]
    total = sum(cell.patches for cell in cells)
    patients = sorted({patient for cell in cells for patient in cell.patients})
    counts = {p: tuple(cell.patients.get(p, 0) for cell in cells) for p in patients}
    # Of too many patients those with the largest share of patches that are not right in both.
    hidden = max(0, len(patients) - MOST_PATIENTS)
    if hidden:
        patients = sorted(patients, key=lambda p: counts[p][0] / max(1, sum(counts[p])))[
            :MOST_PATIENTS
        ]
    colors = [color for _, _, color in named]
    statistics = dict.fromkeys(name for cell in cells for name in cell.statistics)
    return EvidenceView(
        rule=table.rule,
        protocol=table.protocol,
        wrong=sum(cell.patches for cell in cells if not cell.class_right),
        total=total,
        cells=tuple(
            CellView(
                name,
                rgb(color),
                cell.patches,
                cell.patches / total if total else None,
                cell.class_right and not cell.evidence_right,
            )
            for cell, name, color in named
        ),
        rows=tuple((p, counts[p], share_bar(p, counts[p], colors)) for p in patients),
        hidden=hidden,
        spreads=tuple(
            (key, spreads(key, [(name, c, cell.statistics.get(key)) for cell, name, c in named]))
            for key in statistics
        ),
    )
