"""A table that is a manifest already: read, checked, and written in another place or form."""

from pathlib import Path

from histoweak.classes import ClassSet
from histoweak.data.layouts.layout import Found, Layout, LayoutMismatchError, Options
from histoweak.data.manifest import Manifest
from histoweak.data.table import SUFFIXES


def find(root: Path, options: Options) -> Found:
    """Read the table, or the only one in a folder.

    Raises:
        LayoutMismatchError: no table, or several.
        ManifestError: whatever is wrong with it, by row and column.
    """
    tables = [root]
    if root.is_dir():
        tables = [p for p in sorted(root.glob("[!.]*")) if p.suffix.lower() in SUFFIXES]
    if len(tables) != 1:
        raise LayoutMismatchError(
            f"{len(tables)} tables",
            where=root,
            expected=f"one file ending in {' or '.join(SUFFIXES)}",
            remedy="Give the table itself",
        )
    classes = ClassSet(options.classes) if options.classes else None
    manifest = Manifest.read(tables[0], check_splits=False, classes=classes)
    return Found(manifest.classes, manifest.records)


LAYOUT = Layout(
    name="csv",
    title="table: one row per image, CSV or Parquet",
    looks_like="columns image; one column of 0 and 1 per class, or labels ('tumour;stroma'); "
    "and optionally mask, patient, slide, split, mpp, source, x, y",
    where="your own data",
    terms="those of the data",
    find=find,
    takes=("classes",),
)
