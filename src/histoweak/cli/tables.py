"""Tables of figures for the terminal; each says how its figures came about."""

import json
from pathlib import Path

from rich.console import Console
from rich.table import Table


def print_ladder(evaluation: Path) -> None:
    """Print the rungs of an `evaluation.json`."""
    figures = json.loads(evaluation.read_text(encoding="utf-8"))
    protocol = (
        f"split {figures['split']}, {figures['images']} images, gate {figures['gate']}, "
        f"test-time augmentation {figures['tta']}, checkpoint {figures['selection']}, "
        f"seed {figures['seed']}"
    )
    names = list(figures["ladder"][0]["classes"])
    table = Table(title=protocol, title_justify="left")
    table.add_column("", no_wrap=True)
    for column in ("mIoU", *(f"IoU {name}" for name in names), "FwIoU", "Dice", "accuracy"):
        table.add_column(column, justify="right", min_width=6)
    for rung in figures["ladder"]:
        values = [rung["miou_present"], *(rung["classes"][n]["iou"] for n in names)]
        values += [rung["fwiou"], rung["mean_dice"], rung["pixel_accuracy"]]
        table.add_row(rung["name"], *("-" if v is None else f"{v:.4f}" for v in values))
    console = Console()
    # A file or a pipe has no width that figures would have to be cut to.
    (console if console.is_terminal else Console(width=200)).print(table)
