"""The figures of a run in the terminal: the ladder, the classifier, the pseudo-masks.

Scores stand in rows and steps in columns, so that many classes make a table longer, not wider: it
can be read in a terminal of 80 columns.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.markup import escape
from rich.table import Table

from histoweak.cli.tables import (
    PROTOCOL,
    cell,
    images_scored,
    mask_table,
    protocol_line,
    titled,
    wide_console,
)

SCORES = {
    "fwiou": "frequency-weighted IoU",
    "mean_dice": "mean Dice",
    "pixel_accuracy": "pixel accuracy",
    "mean_recall": "mean class recall",
    "miou_zero": "mIoU, absent class as 0",
    "image_averaged_miou": "mIoU averaged over images",
}
LABELS = {
    "auroc": "AUROC",
    "average_precision": "AP",
    "f1": "F1",
    "calibration_error": "calibration error",
}
EVIDENCE = {
    "pointing_game": "pointing game",
    "energy_lift": "energy lift",
    "leakage": "leakage",
    "evidence_accuracy": "EvAcc",
}
PIXELS = {"average_precision": "pixel AP", "auroc": "pixel AUROC"}
LABEL_WIDTH = 30
NARROWEST = 6
"""Width of a score; a column is as wide as the longest word of its heading, or this."""
WIDEST = 16
LONGEST_WORD = 18
"""Signs of a class name that stay together even in a narrow table."""
BORDERS = 3


def print_ladder(evaluation: Path) -> None:
    """Print the rungs of an `evaluation.json`, and what was measured of the classifier."""
    figures = json.loads(evaluation.read_text(encoding="utf-8"))
    console = wide_console()
    console.print(ladder_tables(figures, console.width))
    if figures.get("classification"):
        console.print(label_table(figures))
    if (figures.get("evidence") or {}).get("classes"):
        console.print(evidence_table(figures))
    if figures.get("pseudo_masks"):
        console.print(mask_table("pseudo-masks", figures["pseudo_masks"], figures))


def ladder_tables(figures: Mapping[str, Any], width: int) -> Group:
    """All rungs, in as many tables as the width of the terminal asks for."""
    ladder = figures["ladder"]
    own = {key: {str(r.get(key, figures[key])) for r in ladder} for key in ("gate", "tta")}
    varied = [key for key, values in own.items() if len(values) > 1]
    common = {key: min(values) for key, values in own.items()}
    said = protocol_line({**figures, **common, **dict.fromkeys(varied, "as in its row")})
    tables = [_rungs(rungs, figures, varied) for rungs in _parted(ladder, width)]
    return titled(f"{said}; {images_scored(figures)}, one confusion matrix", *tables)


def _parted(ladder: Sequence[Mapping[str, Any]], width: int) -> list[Sequence[Mapping[str, Any]]]:
    """The rungs in groups that fit beside the names of the scores."""
    words = [word for rung in ladder for word in str(rung["name"]).split()]
    column = BORDERS + min(WIDEST, max([NARROWEST, *map(len, words)]))
    fit = max(1, (width - LABEL_WIDTH - 2 * BORDERS) // column)
    return [ladder[start : start + fit] for start in range(0, len(ladder), fit)]


def _rungs(
    rungs: Sequence[Mapping[str, Any]], figures: Mapping[str, Any], varied: Sequence[str]
) -> Table:
    table = Table()
    table.add_column("", max_width=LABEL_WIDTH, overflow="fold")
    for rung in rungs:
        table.add_column(escape(rung["name"]), justify="right", overflow="fold")
    for key in varied:
        values = (str(rung.get(key, figures[key])) for rung in rungs)
        table.add_row(PROTOCOL[key], *map(escape, values), end_section=key == varied[-1])
    table.add_row("mIoU", *(cell(rung["miou_present"]) for rung in rungs), style="bold")
    for name in rungs[0]["classes"]:
        table.add_row(
            escape(f"IoU {name}"), *(cell(rung["classes"][name]["iou"]) for rung in rungs)
        )
    table.add_section()
    for key, word in SCORES.items():
        table.add_row(word, *(cell(rung.get(key)) for rung in rungs))
    bounded = [rung.get("boundary") or {} for rung in rungs]
    for tolerance in sorted({b["tolerance_um"] for b in bounded if b}):
        for key, word in (("mean_f", "boundary F"), ("mean_iou", "boundary IoU")):
            table.add_row(f"{word} at {tolerance:g} microns", *(cell(b.get(key)) for b in bounded))
    return table


def label_table(figures: Mapping[str, Any]) -> Group:
    """What the classifier says of patches."""
    labels = figures["classification"]
    rows = [*labels["classes"].items(), ("mean", {k: labels[f"mean_{k}"] for k in LABELS})]
    table = _by_class([name for name, _ in rows], LABELS.values())
    for name, scores in rows:
        table.add_row(escape(name), *(cell(scores[key]) for key in LABELS))
    # What the classifier says is never gated by what it says.
    said = protocol_line({**figures, "gate": "none", "tta": labels["tta"]})
    return titled(f"patch labels: {said}; {labels['patches']} labelled patches", table)


def evidence_table(figures: Mapping[str, Any]) -> Group:
    """Where the classifier looks."""
    evidence = figures["evidence"]
    pixels = evidence.get("pixels") or {"classes": {}, "mean": {}}
    names = [*evidence["classes"], "mean"]
    table = _by_class(names, [*EVIDENCE.values(), *PIXELS.values()])
    for name in names:
        patch, pixel = (p["classes"].get(name, p["mean"]) for p in (evidence, pixels))
        values = [patch[key] for key in EVIDENCE] + [pixel.get(key) or {} for key in PIXELS]
        table.add_row(escape(name), *(cell(value.get("estimate")) for value in values))
    said = protocol_line({**figures, "gate": "none", "tta": evidence["tta"]})
    return titled(f"evidence: {said}; {evidence['patches']} images", table)


def _by_class(names: Iterable[str], measures: Iterable[str]) -> Table:
    """A table whose headings give way before the words of the names are cut."""
    longest = max(len(word) for name in names for word in name.split())
    table = Table()
    table.add_column(
        "class", min_width=min(longest, LONGEST_WORD), max_width=LABEL_WIDTH, overflow="fold"
    )
    for word in measures:
        table.add_column(word.replace(" ", "\n"), justify="right")
    return table
