"""Ways to spoil a data set; each takes the manifest of a copy of the phantom."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

Rows = list[dict[str, str]]
Spoil = Callable[[Path], None]
CLASSES = ("tumour", "stroma", "lymphocytes", "necrosis")


def rows_of(table: Path) -> Rows:
    with table.open(newline="") as file:
        return list(csv.DictReader(file))


def change(edit: Callable[[Rows], Rows | None]) -> Spoil:
    """Edit the rows of the table; `edit` changes them in place or returns others."""

    def spoil(table: Path) -> None:
        rows = rows_of(table)
        rows = edit(rows) or rows
        with table.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0].keys())
            writer.writeheader()
            writer.writerows(rows)

    return spoil


def cell(row: int, column: str, value: str) -> Spoil:
    """Set one cell; rows count from 0."""

    def edit(rows: Rows) -> None:
        rows[row][column] = value

    return change(edit)


def column_renamed(old: str, new: str) -> Spoil:
    return change(lambda rows: [{new if k == old else k: v for k, v in r.items()} for r in rows])


def column_emptied(column: str, split: str) -> Spoil:
    def edit(rows: Rows) -> None:
        for row in rows:
            if row["split"] == split:
                row[column] = ""

    return change(edit)


def label_lists(rows: Rows) -> Rows:
    """The class columns as one column of names, one of them unknown."""
    others = [name for name in rows[0] if name not in CLASSES]
    lists = [";".join(c for c in CLASSES if r[c] == "1") for r in rows]
    lists[2] = "tumuor"
    return [
        {**{k: r[k] for k in others}, "labels": text} for r, text in zip(rows, lists, strict=True)
    ]


def class_absent(name: str) -> Spoil:
    def edit(rows: Rows) -> None:
        for row in rows:
            if row["split"] == "train":
                row[name] = "0"

    return change(edit)


def split_renamed(old: str, new: str) -> Spoil:
    def edit(rows: Rows) -> None:
        for row in rows:
            row["split"] = new if row["split"] == old else row["split"]

    return change(edit)


def damaged(split: str, column: str, how: Callable[[Path], None], count: int = 2) -> Spoil:
    """Damage the files of the first rows of a split; one alone would be skipped and counted."""

    def spoil(table: Path) -> None:
        rows = [row for row in rows_of(table) if row["split"] == split]
        for row in rows[:count]:
            how(table.parent / row[column])

    return spoil


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def enlarge(path: Path) -> None:
    Image.open(path).resize((80, 64), Image.Resampling.NEAREST).save(path)


def unknown_values(path: Path) -> None:
    values = np.asarray(Image.open(path)).copy()
    values[0, 0], values[0, 1] = 4, 200
    Image.fromarray(values).save(path)


def no_text(table: Path) -> None:
    """Bytes that are no UTF-8."""
    table.write_bytes(b"image,tumour\n\xff\xfe,1\n")
