"""Tables of figures for the terminal; each says how its figures came about."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

PROTOCOL = {
    "gate": "gate",
    "tta": "test-time augmentation",
    "selection": "checkpoint",
    "split": "split",
    "seed": "seed",
}
EVIDENCE = {
    "pointing_game": "pointing game",
    "energy_lift": "energy over area",
    "leakage": "leakage",
    "evidence_accuracy": "EvAcc",
}
PIXELS = {"average_precision": "pixel AP", "auroc": "pixel AUROC"}
LABELS = {
    "auroc": "AUROC",
    "average_precision": "AP",
    "f1": "F1",
    "calibration_error": "calibration error",
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
    from histoweak.data.files import replacing

    with replacing(path) as temporary:
        text = json.dumps(figures, indent=2, ensure_ascii=False)
        temporary.write_text(text + "\n", encoding="utf-8")


def wide_console() -> Console:
    """Standard output; a file or a pipe has no width that figures would have to be cut to."""
    console = Console()
    return console if console.is_terminal else Console(width=250)


def print_ladder(evaluation: Path) -> None:
    """Print the rungs of an `evaluation.json`, and what was measured of the classifier."""
    figures = json.loads(evaluation.read_text(encoding="utf-8"))
    console = wide_console()
    console.print(ladder_table(figures))
    if figures.get("classification") or figures.get("evidence"):
        console.print(classifier_table(figures))
    if figures.get("pseudo_masks"):
        console.print(mask_table("pseudo-masks", figures["pseudo_masks"], figures))


def ladder_table(figures: Mapping[str, Any]) -> Table:
    """The rungs, each with its own test-time augmentation."""
    augmentations = " / ".join(str(r.get("tta", figures["tta"])) for r in figures["ladder"])
    said = protocol_line({**figures, "tta": augmentations})
    table = _table(f"{said}; {_images(figures)}, one confusion matrix")
    for name in figures["ladder"][0]["classes"]:
        table.add_column(escape(f"IoU {name}"), justify="right")
    for column in ("FwIoU", "Dice", "accuracy", "image-averaged mIoU", "boundary F"):
        table.add_column(column, justify="right")
    for rung in figures["ladder"]:
        values = [rung["miou_present"], *(c["iou"] for c in rung["classes"].values())]
        values += [rung["fwiou"], rung["mean_dice"], rung["pixel_accuracy"]]
        values.append(rung.get("image_averaged_miou"))
        values.append((rung.get("boundary") or {}).get("mean_f"))
        table.add_row(escape(rung["name"]), *map(cell, values))
    tolerances = {r["boundary"]["tolerance_um"] for r in figures["ladder"] if r.get("boundary")}
    for tolerance in tolerances:
        table.caption = f"boundary F at {tolerance:g} microns"
    return table


def classifier_table(figures: Mapping[str, Any]) -> Table:
    """What the classifier says of patches, and where it looks."""
    labels = figures.get("classification") or {}
    evidence = figures.get("evidence") or {}
    said = protocol_line({**figures, "tta": (evidence or labels)["tta"]})
    counts = f"{labels['patches']} labelled patches" if labels else "no patch labels"
    table = Table(title=escape(f"classifier: {said}; {counts}"), title_justify="left")
    names = [*figures["ladder"][0]["classes"], "mean"]
    table.add_column("")
    for name in names:
        table.add_column(escape(name), justify="right")
    for key, word in LABELS.items() if labels else ():
        values = [labels["classes"][n][key] for n in names[:-1]] + [labels[f"mean_{key}"]]
        table.add_row(word, *map(cell, values))
    for part, words in ((evidence, EVIDENCE), (evidence.get("pixels", {}), PIXELS)):
        for key, word in words.items() if "mean" in part else ():
            rows = [part["classes"][n] for n in names[:-1]] + [part["mean"]]
            table.add_row(word, *(cell(row[key]["estimate"]) for row in rows))
    return table


def mask_table(name: str, quality: Mapping[str, Any], protocol: Mapping[str, Any]) -> Table:
    """Masks that leave pixels without a class: how much they cover, and how much of it is right.

    Args:
        name: what they are.
        quality: from `stages.pseudo_quality.quality`, with the `tta` and `gate` of the masks.
        protocol: the other parts of the protocol, and `images`.
    """
    said = protocol_line({**protocol, **{k: quality[k] for k in ("tta", "gate") if k in quality}})
    table = Table(title=escape(f"{name}: {said}; {_images(protocol)}"), title_justify="left")
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
    return table


def _table(title: str) -> Table:
    table = Table(title=escape(title), title_justify="left")
    table.add_column("")
    table.add_column("mIoU", justify="right")
    return table


def _images(figures: Mapping[str, Any]) -> str:
    skipped = f" ({figures['skipped']} skipped)" if figures.get("skipped") else ""
    return f"{figures['images']} images{skipped}"
