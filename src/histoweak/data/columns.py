"""What the columns of a manifest mean, and how each cell is read."""

import difflib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from histoweak.classes import ClassSet
from histoweak.data.table import Table
from histoweak.errors import ManifestError

KNOWN = ("image", "labels", "mask", "patient", "slide", "split", "mpp", "source", "x", "y")
"""Columns with a meaning of their own; every other one is a class, or a "meta." remark."""

SPLITS = ("train", "val", "test")
_SPLIT_WORDS = {
    "": "", "train": "train", "training": "train", "val": "val", "valid": "val",
    "validation": "val", "test": "test", "testing": "test",
}  # fmt: skip
_BITS: dict[Any, int] = {0: 0, 1: 1, "0": 0, "1": 1, "0.0": 0, "1.0": 1}  # True and 1.0 equal 1

Value = TypeVar("Value")


def is_empty(cell: Any) -> bool:
    """Whether a cell holds nothing; pandas writes NaN for nothing."""
    return cell is None or cell == "" or (isinstance(cell, float) and math.isnan(cell))


class Cells:
    """The cells of a table's columns, with errors that name file, row and column."""

    def __init__(self, table: Table) -> None:
        self.table = table

    def fail(self, index: int, column: str, problem: str, expected: str, remedy: str) -> None:
        """Raise the error about one cell."""
        where = f"{self.table.path}, row {self.table.rows[index]}, column {column}"
        raise ManifestError(problem, where=where, expected=expected, remedy=remedy)

    def read(
        self, column: str, default: Value, parse: Callable[[Any], Value], expected: str
    ) -> list[Value]:
        """Parse a column; missing column and empty cells give `default`.

        Raises:
            ManifestError: `parse` raised ValueError, TypeError or KeyError on a cell.
        """
        cells = self.table.columns.get(column)
        if cells is None:
            return [default] * len(self.table.rows)
        parsed: list[Value] = []
        for index, cell in enumerate(cells):
            if is_empty(cell):
                parsed.append(default)
                continue
            try:
                parsed.append(parse(cell))
            except (ValueError, TypeError, KeyError, OverflowError):
                self.fail(index, column, f"{column} is {cell!r}", expected, "Correct the cell")
        return parsed


def find_classes(table: Table, given: ClassSet | None) -> ClassSet:
    """Decide the class set of a table: the given one, or by its columns or label lists.

    Args:
        table: the manifest's table.
        given: what `classes.json` beside the table says, None where there is no such file.

    Raises:
        ManifestError: an unknown column, a class without its column, or no class at all.
    """
    others = [c for c in table.columns if c not in KNOWN and not c.startswith("meta.")]
    if "image" not in table.columns:
        raise ManifestError(
            f"no column 'image' among {list(table.columns)}",
            where=table.path,
            remedy=_nearest("image", list(table.columns))
            or "Name the column of image paths 'image'",
        )
    if given is not None:
        refuse_column_names(given, table.path)
    if "labels" in table.columns:
        if others:
            _refuse_column(table, others[0], list(KNOWN))
        return given or _classes_of_lists(table)
    if given is None:
        if not others:
            raise ManifestError(
                "no class columns",
                where=table.path,
                remedy="Add one column of 0 and 1 per class, or a column 'labels'",
            )
        return ClassSet(tuple(others))
    for column in others:
        if column not in given.names:
            _refuse_column(table, column, [*given.names, *KNOWN])
    missing = [name for name in given.names if name not in others]
    if others and missing:
        raise ManifestError(
            f"no column for class {missing[0]!r}",
            where=table.path,
            expected=f"columns {', '.join(given.names)} as in classes.json",
            remedy="Add the column, or correct classes.json",
        )
    return given


def refuse_column_names(classes: ClassSet, where: Path) -> None:
    """Refuse class names that no column of a manifest may have.

    Raises:
        ManifestError: a class is called like another column, or like a remark.
    """
    for name in classes.names:
        if name in KNOWN or name.startswith("meta.") or name != name.strip() or not name:
            raise ManifestError(
                f"class name {name!r}",
                where=where,
                expected=f"a word other than {', '.join(KNOWN)} or meta.*",
                remedy="Rename the class",
            )


def _refuse_column(table: Table, column: str, known: list[str]) -> None:
    raise ManifestError(
        f"unknown column {column!r}",
        where=table.path,
        remedy=_nearest(column, known) or "Remove it, or begin its name with 'meta.'",
    )


def _nearest(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"Did you mean {close[0]!r}?" if close else ""


def _names(cell: Any) -> list[str]:
    parts = cell if isinstance(cell, list) else str(cell).split(";")
    return [name for name in (str(part).strip() for part in parts) if name]


def _classes_of_lists(table: Table) -> ClassSet:
    cells = [cell for cell in table.columns["labels"] if not is_empty(cell)]
    names = {name for cell in cells for name in _names(cell)}
    if not names:
        raise ManifestError(
            "no class is named in column 'labels'",
            where=table.path,
            remedy="Write the class names there, separated by semicolons",
        )
    return ClassSet(tuple(sorted(names)))


def read_labels(cells: Cells, classes: ClassSet) -> list[tuple[int, ...]]:
    """Multi-hot labels of every row; () where the row has none.

    Raises:
        ManifestError: a label that is not 0 or 1, a row labelled in part, or an unknown class.
    """
    if "labels" in cells.table.columns:
        return _labels_of_lists(cells, classes)
    if classes.names[0] not in cells.table.columns:
        return [()] * len(cells.table.rows)
    columns = [cells.table.columns[name] for name in classes.names]
    found: list[tuple[int, ...]] = []
    for index, row in enumerate(zip(*columns, strict=True)):
        try:
            found.append(tuple([_BITS[cell] for cell in row]))
        except (KeyError, TypeError):
            if not all(is_empty(cell) for cell in row):
                _refuse_label(cells, index, row, classes)
            found.append(())
    return found


def _refuse_label(cells: Cells, index: int, row: tuple[Any, ...], classes: ClassSet) -> None:
    for name, cell in zip(classes.names, row, strict=True):
        if not isinstance(cell, (str, int, float)) or cell not in _BITS:
            hint = _nearest(name, list(KNOWN))
            cells.fail(
                index, name, f"label is {cell!r}", "0 or 1",
                hint or f"Correct the cell; if {name!r} is no class, name the column 'meta.{name}'",
            )  # fmt: skip


def _labels_of_lists(cells: Cells, classes: ClassSet) -> list[tuple[int, ...]]:
    position = {name: i for i, name in enumerate(classes.names)}
    found: list[tuple[int, ...]] = []
    for index, cell in enumerate(cells.table.columns["labels"]):
        if is_empty(cell):
            found.append(())
            continue
        label = [0] * len(classes)
        for name in _names(cell):
            if name not in position:
                cells.fail(
                    index, "labels", f"unknown class {name!r}", f"one of {list(classes.names)}",
                    _nearest(name, list(classes.names)) or "Correct the cell or classes.json",
                )  # fmt: skip
            label[position[name]] = 1
        found.append(tuple(label))
    return found


def parse_split(cell: Any) -> str:
    """train, val or test, from the usual words for them; KeyError on any other."""
    return _SPLIT_WORDS[str(cell).strip().lower()]


def parse_mpp(cell: Any) -> float:
    """Microns per pixel: a positive finite number; ValueError on any other."""
    value = float(cell)
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(cell)
    return value


def parse_whole(cell: Any) -> int:
    """A whole number, also as 3.0; ValueError on any other."""
    value = float(cell)
    if value != int(value):
        raise ValueError(cell)
    return int(value)
