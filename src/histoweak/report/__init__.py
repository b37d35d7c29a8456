"""The report of a run: one HTML file that needs nothing outside itself.

`data` names what a report may show, `render` turns it into the file. The report takes plain
numbers and arrays; it knows nothing of methods, runs or networks.
"""

from histoweak.metrics.choice import choose_samples
from histoweak.report.data import (
    Curve,
    EvidenceCell,
    EvidenceTable,
    Gallery,
    LadderRow,
    PatientRow,
    ReportData,
    Sample,
    Spread,
)
from histoweak.report.measures import (
    Estimate,
    Faithfulness,
    Measure,
    MeasureTable,
    PseudoMaskQuality,
)
from histoweak.report.protocol import Protocol
from histoweak.report.render import render, write_report

__all__ = [
    "Curve",
    "Estimate",
    "EvidenceCell",
    "EvidenceTable",
    "Faithfulness",
    "Gallery",
    "LadderRow",
    "Measure",
    "MeasureTable",
    "PatientRow",
    "Protocol",
    "PseudoMaskQuality",
    "ReportData",
    "Sample",
    "Spread",
    "choose_samples",
    "render",
    "write_report",
]
