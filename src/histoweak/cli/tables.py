"""Tables of figures for the terminal; each says how its figures came about."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

PROTOCOL = {
    "gate": "gate",
    "tta": "test-time augmentation",
    "selection": "checkpoint",
    "split": "split",
    "seed": "seed",
}


def protocol_line(figures: Mapping[str, Any]) -> str:
    """Gate, test-time augmentation, checkpoint selection, split and seed, in words."""
    values = ((word, figures[key]) for key, word in PROTOCOL.items())
    return ", ".join(f"{word} {'unknown' if v is None else v}" for word, v in values)


def cell(value: float | None) -> str:
    """A score with four digits, or a dash where it has no meaning."""
    return "-" if value is None else f"{value:.4f}"


def write_json(path: Path, figures: Mapping[str, Any]) -> None:
    """Write figures; the file appears whole or not at all.

    Raises:
        OutputError: the file cannot be written.
    """
    from histoweak.atomic import replacing

    with replacing(path) as temporary:
        text = json.dumps(figures, indent=2, ensure_ascii=False)
        temporary.write_text(text + "\n", encoding="utf-8")


def wide_console() -> Console:
    """Standard output; a file or a pipe has no width that figures would have to be cut to."""
    console = Console()
    return console if console.is_terminal else Console(width=250)


def titled(title: str, *tables: Table) -> Group:
    """Tables under a title that may be as wide as the terminal, however narrow the tables are."""
    return Group(Text(title, style="italic"), *tables)


def mask_table(name: str, quality: Mapping[str, Any], protocol: Mapping[str, Any]) -> Group:
    """Masks that leave pixels without a class: how much they cover, and how much of it is right.

    Args:
        name: what they are.
        quality: from `stages.pseudo_quality.quality`, with the `tta` and `gate` of the masks.
        protocol: the other parts of the protocol, and `images`.
    """
    said = protocol_line({**protocol, **{k: quality[k] for k in ("tta", "gate") if k in quality}})
    table = Table()
    for column in ("class", "IoU", "precision", "recall"):
        table.add_column(column, justify="left" if column == "class" else "right")
    for label, scores in quality["classes"].items():
        table.add_row(escape(label), *(cell(scores[k]) for k in ("iou", "precision", "recall")))
    table.add_section()
    table.add_row("mean IoU", cell(quality["miou_present"]))
    table.add_row("pixels given a class", cell(quality["coverage"]))
    table.add_row("of these, right", cell(quality["accuracy"]))
    if "contested" in quality:
        table.add_section()
        table.add_row("where labels leave a choice:")
        table.add_row("pixels given a class", cell(quality["contested"]["coverage"]))
        table.add_row("of these, right", cell(quality["contested"]["accuracy"]))
    return titled(f"{name}: {said}; {images_scored(protocol)}", table)


def images_scored(figures: Mapping[str, Any]) -> str:
    """How many images stand behind the figures, in words."""
    skipped = f" ({figures['skipped']} skipped)" if figures.get("skipped") else ""
    return f"{figures['images']} images{skipped}"
