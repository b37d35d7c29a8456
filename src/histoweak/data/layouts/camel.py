"""CAMEL's colorectal adenoma set (Xu et al., ICCV 2019): a label for each 1280 px image."""

from pathlib import Path

from histoweak.classes import ClassSet
from histoweak.data.layouts.folders import homes, images_below
from histoweak.data.layouts.layout import Found, Layout, LayoutMismatchError, Options
from histoweak.data.layouts.names import split_of_folder
from histoweak.data.manifest import Record
from histoweak.data.table import Table, read_table
from histoweak.errors import ManifestError

CLASSES = ClassSet(("normal", "adenoma"))

LABELS = {"0": (1, 0), "1": (1, 1)}
"""Label 1 says that an image holds adenoma, not that it holds nothing else."""

_COLUMNS = {"image_name", "label"}


def find(root: Path, options: Options) -> Found:
    """Find the tables `image_name,label` and the images that they name.

    The name of a table or of its folder, such as train.csv, decides the split.
    """
    tables = [table for table in map(_table, _csv_files(root)) if table is not None]
    if not tables:
        raise LayoutMismatchError(
            "no CSV file with the columns image_name and label",
            where=root,
            expected="a table such as train.csv beside the images",
            remedy="Give the folder that holds it",
        )
    records = tuple(record for table in tables for record in _records(table, options))
    return Found(CLASSES, records, no_patients=True)


def _csv_files(root: Path) -> list[Path]:
    if root.is_file():
        return [root] if root.suffix.lower() == ".csv" else []
    return [path for home in homes(root) for path in sorted(home.glob("*.csv"))]


def _table(path: Path) -> Table | None:
    """The table if it is one of CAMEL's; other CSV files may lie about."""
    try:
        table = read_table(path)
    except ManifestError:
        return None
    return table if table.columns.keys() >= _COLUMNS else None


def _records(table: Table, options: Options) -> list[Record]:
    folder = table.path.parent
    by_name: dict[str, list[Path]] = {}
    for path in images_below(folder):
        for name in (path.name, path.stem):
            by_name.setdefault(name, []).append(path)
    split = split_of_folder(table.path.stem) or split_of_folder(folder.name) or options.split
    records: list[Record] = []
    rows = zip(table.rows, table.columns["image_name"], table.columns["label"], strict=True)
    for row, name, label in rows:
        where = f"{table.path}, row {row}"
        if label not in LABELS:
            raise ManifestError(
                f"label is {label!r}",
                where=where,
                expected="0 (no adenoma) or 1",
                remedy="Correct the cell",
            )
        image = _image(table, name, by_name, where)
        record = Record(
            image=image, labels=LABELS[label], patient=name, slide=name, split=split,
            mpp=options.mpp,
        )  # fmt: skip
        records.append(record)
    return records


def _image(table: Table, name: str, by_name: dict[str, list[Path]], where: str) -> Path:
    """The image of a row: in the folder named like the table, or the only one of its name."""
    found = by_name.get(name.rpartition("/")[2], [])
    nearest = [path for path in found if path.parent.name == table.path.stem] or found
    if len(nearest) != 1:
        raise ManifestError(
            f"{len(nearest)} images are called {name!r}",
            where=where,
            expected="one, in the folder of the table or below it",
            remedy="Put table and images into one folder",
        )
    return nearest[0]


LAYOUT = Layout(
    name="camel",
    title="CAMEL: colorectal adenoma or not, images of 1280 px at 20x, no masks",
    looks_like="CSV files with the columns image_name,label (0 or 1), the images beside or below",
    where="the link in the README of github.com/ThoroughImages/CAMEL; Xu et al., ICCV 2019",
    terms="none stated; do not redistribute",
    find=find,
    takes=("mpp", "split"),
)
