"""Read and write a table as columns of plain values: CSV or Parquet, by the file's suffix."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from histoweak.atomic import replacing
from histoweak.errors import ManifestError

SUFFIXES = (".csv", ".parquet")
_REMEDY = "Give a CSV file (UTF-8, commas, a header line) or a Parquet file"


@dataclass(frozen=True)
class Table:
    """Columns by name, all of one length.

    Args:
        path: the file they came from.
        columns: text in each cell of a CSV; any scalar, list or None from Parquet.
        rows: the number to name each row by: its line in a CSV, counted from 1 in Parquet.
    """

    path: Path
    columns: dict[str, list[Any]]
    rows: list[int]


def read_table(path: Path) -> Table:
    """Read a CSV or Parquet file.

    Raises:
        ManifestError: missing, unreadable, of another kind, or a CSV whose rows do not fit its
            header.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ManifestError(
            f"suffix {path.suffix!r}", where=path, expected=" or ".join(SUFFIXES), remedy=_REMEDY
        )
    try:
        table = _read_csv(path) if path.suffix.lower() == ".csv" else _read_parquet(path)
    except (OSError, ValueError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise ManifestError(f"cannot be read ({reason})", where=path, remedy=_REMEDY) from error
    for position, name in enumerate(table.columns, start=1):
        if not name:
            raise ManifestError(
                f"column {position} has no name",
                where=path,
                remedy="Name the column or remove it (an index column of pandas: index=False)",
            )
    return table


def _read_csv(path: Path) -> Table:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        header = [name.strip() for name in next(reader, [])]
        if not header:
            raise ManifestError("is empty", where=path, remedy=_REMEDY)
        repeated = sorted({name for name in header if header.count(name) > 1})
        if repeated:
            raise ManifestError(
                f"column {repeated[0]!r} stands twice", where=path, remedy="Remove one of the two"
            )
        cells: list[list[str]] = []
        rows: list[int] = []
        for row in reader:
            if not row:
                continue
            if len(row) != len(header):
                raise ManifestError(
                    f"{len(row)} cells",
                    where=f"{path}, row {reader.line_num}",
                    expected=f"{len(header)} as in the header",
                    remedy="Put cells that hold commas in double quotes",
                )
            cells.append(row)
            rows.append(reader.line_num)
    return Table(path, {name: [r[i].strip() for r in cells] for i, name in enumerate(header)}, rows)


def _read_parquet(path: Path) -> Table:
    import pyarrow.parquet

    # ParquetFile, not read_table: a name like split=train in the path is no column.
    table = pyarrow.parquet.ParquetFile(path).read()
    columns = {str(name): table.column(i).to_pylist() for i, name in enumerate(table.column_names)}
    return Table(path, columns, list(range(1, table.num_rows + 1)))


def write_table(path: Path, columns: dict[str, list[Any]]) -> None:
    """Write columns of one length; None becomes an empty cell.

    Raises:
        ManifestError: the suffix is neither .csv nor .parquet.
        OutputError: the file cannot be written.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ManifestError(
            f"suffix {path.suffix!r}", where=path, expected=" or ".join(SUFFIXES), remedy=_REMEDY
        )
    with replacing(path) as temporary:
        if path.suffix.lower() == ".csv":
            # A file name may be no Unicode: it is shown by its bytes rather than not at all.
            with temporary.open(
                "w", encoding="utf-8", errors="backslashreplace", newline=""
            ) as file:
                writer = csv.writer(file, lineterminator="\n")
                writer.writerow(columns)
                writer.writerows(zip(*columns.values(), strict=True))
        else:
            import pyarrow
            import pyarrow.parquet

            pyarrow.parquet.write_table(pyarrow.table(columns), temporary)
