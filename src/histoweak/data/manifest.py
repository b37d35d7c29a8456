"""The manifest: one table, CSV or Parquet, that is the truth of a data set."""

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from histoweak.atomic import replacing
from histoweak.classes import ClassSet
from histoweak.data.columns import (
    SPLITS,
    Cells,
    find_classes,
    parse_mpp,
    parse_split,
    parse_whole,
    read_labels,
    refuse_column_names,
)
from histoweak.data.table import Table, read_table, write_table
from histoweak.errors import ImageError, ManifestError, OutputError

CLASS_FILE = "classes.json"
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Record:
    """One row of a manifest.

    Args:
        image: path of the image.
        labels: K times 0 or 1; () where the row has no label, which only train rows must have.
        mask: path of its index mask, if there is one.
        patient: who the tissue comes from; splits never divide a patient.
        slide: the glass slide.
        split: train, val, test, or '' where not yet assigned.
        mpp: microns per pixel, if known.
        source: id of the larger image that this patch was cut from, '' when none.
        x: column of the patch's upper left pixel in the source.
        y: row of the patch's upper left pixel in the source.
        row: line of the record in its table, for messages.
    """

    image: Path
    labels: tuple[int, ...] = ()
    mask: Path | None = None
    patient: str = ""
    slide: str = ""
    split: str = ""
    mpp: float | None = None
    source: str = ""
    x: int = 0
    y: int = 0
    row: int = 0


@dataclass(frozen=True)
class Manifest:
    """A data set: its classes and its rows.

    Args:
        classes: the K classes that labels and masks refer to.
        records: the rows, in the order of the table.
        path: the file it was read from or written to, None for one made in memory.
    """

    classes: ClassSet
    records: tuple[Record, ...]
    path: Path | None = None

    @classmethod
    def read(
        cls,
        path: Path,
        *,
        check_files: bool = True,
        check_splits: bool = True,
        classes: ClassSet | None = None,
    ) -> "Manifest":
        """Read and check a table; paths in it are relative to its folder.

        Columns: `image`; one column of 0 and 1 per class, or `labels` ("tumour;stroma", in
        Parquet also a list); and optionally `mask`, `patient`, `slide`, `split`, `mpp`, `source`,
        `x`, `y`. `classes.json` beside the table fixes names, order and colours of the classes;
        without it every other column is a class. Columns named "meta. ..." are remarks. A missing
        slide is the source, or else the image's path in the table without its suffix; a missing
        patient is the slide.

        Args:
            path: .csv or .parquet file.
            check_files: also look whether every image and mask is there.
            check_splits: refuse train rows without labels and patients in two splits; False for
                a table that has yet to be tiled or split.
            classes: the class set, instead of what `classes.json` or the columns say.

        Raises:
            ManifestError: whatever is wrong with it, by file, row and column.
        """
        table = read_table(path)
        class_file = path.parent / CLASS_FILE
        if classes is None and class_file.exists():
            classes = ClassSet.read(class_file)
        classes = find_classes(table, classes)
        manifest = cls(classes, tuple(_records(table, classes, check_splits)), path)
        _refuse_repeats(manifest)
        if check_splits:
            manifest.require_whole_patients()
        if check_files:
            _refuse_missing(manifest)
        return manifest

    def write(self, path: Path) -> "Manifest":
        """Write the table (CSV or Parquet by suffix) and `classes.json` beside it, atomically.

        Returns:
            This manifest, with the path it now has.

        Raises:
            ManifestError: the suffix is neither .csv nor .parquet, or a class has the name of
                another column.
            OutputError: not writable, or the folder holds another `classes.json`.
        """
        refuse_column_names(self.classes, path)
        class_file = path.parent / CLASS_FILE
        if class_file.exists() and ClassSet.read(class_file) != self.classes:
            raise OutputError(
                "holds other classes than this data set",
                where=class_file,
                expected=f"{list(self.classes.names)}",
                remedy="Choose another folder, or remove the file if nothing needs it",
            )
        write_table(path, _columns(self, path.parent))
        if not class_file.exists():
            with replacing(class_file) as temporary:
                text = json.dumps(self.classes.to_dict(), indent=2, ensure_ascii=False)
                temporary.write_text(text + "\n", encoding="utf-8")
        return replace(self, path=path)

    def split(self, name: str) -> tuple[Record, ...]:
        """Records of one split: train, val, test, or '' for the unassigned."""
        return tuple(r for r in self.records if r.split == name)

    def without_masks(self) -> "Manifest":
        """The same with no masks on train rows: all that weakly supervised training may see."""
        return replace(
            self,
            records=tuple(replace(r, mask=None) if r.split == "train" else r for r in self.records),
        )

    def require_whole_patients(self) -> None:
        """Refuse a patient whose records stand in two splits.

        Raises:
            ManifestError: naming the patient and a row of each split.
        """
        seen: dict[str, Record] = {}
        for record in self.records:
            first = seen.setdefault(record.patient, record) if record.split else record
            if first.split != record.split:
                raise ManifestError(
                    f"patient {record.patient!r} is in two splits: {first.split} (row {first.row})"
                    f" and {record.split} (row {record.row})",
                    where=self._where(),
                    expected="all images of a patient in one split",
                    remedy="Assign the splits anew with `histoweak data split`",
                )

    def require_trainable(self) -> None:
        """Refuse a data set that nothing can be trained on.

        Raises:
            ManifestError: no train rows, or a class that no train row is labelled with.
        """
        train = self.split("train")
        if not train:
            found = sorted({r.split or "unassigned" for r in self.records})
            raise ManifestError(
                f"no train rows among {len(self.records)} (found: {', '.join(found) or 'nothing'})",
                where=self._where(),
                remedy="Write 'train' in the column split, or run `histoweak data split`",
            )
        for index, name in enumerate(self.classes.names):
            if not any(r.labels[index] for r in train if r.labels):
                raise ManifestError(
                    f"class {name!r} is absent from all {len(train)} train rows",
                    where=self._where(),
                    remedy="Split anew with another seed, add images of it, or drop the class",
                )

    def digest(self) -> str:
        """SHA-256 in hex over classes, rows and the content of every image and mask.

        File names count, their folders do not: a data set that moved keeps its digest.

        Raises:
            ImageError: a file cannot be read.
        """
        total = hashlib.sha256(json.dumps(self.classes.to_dict(), sort_keys=True).encode())
        for record in self.records:
            plain = [
                record.image.name, record.labels, record.patient, record.slide, record.split,
                record.mpp, record.source, record.x, record.y, _content(record.image),
                None if record.mask is None else _content(record.mask),
            ]  # fmt: skip
            total.update(json.dumps(plain).encode())
        return total.hexdigest()

    def _where(self) -> str:
        return str(self.path) if self.path is not None else "manifest"


def _records(table: Table, classes: ClassSet, check_splits: bool) -> Iterable[Record]:
    cells = Cells(table)
    labels = read_labels(cells, classes)
    images = cells.read("image", "", str, "a path")
    masks = cells.read("mask", "", str, "a path")
    splits = cells.read("split", "", parse_split, "train, val, test or nothing")
    sources = cells.read("source", "", str, "a name")
    slides = cells.read("slide", "", str, "a name")
    patients = cells.read("patient", "", str, "a name")
    mpps: list[float | None] = cells.read("mpp", None, parse_mpp, "a number > 0, microns per pixel")
    xs = cells.read("x", 0, parse_whole, "a whole number of pixels")
    ys = cells.read("y", 0, parse_whole, "a whole number of pixels")
    folder = table.path.parent
    for i, row in enumerate(table.rows):
        if not images[i]:
            cells.fail(i, "image", "no image", "a path", "Fill the cell or remove the row")
        if check_splits and splits[i] == "train" and not labels[i]:
            cells.fail(
                i, "split", "a train row without a label", "0 or 1 for every class",
                "Label the row, or take it out of train",
            )  # fmt: skip
        slide = slides[i] or sources[i] or os.path.splitext(images[i])[0]  # noqa: PTH122 - any text goes
        yield Record(
            image=folder / images[i],
            labels=labels[i],
            mask=folder / masks[i] if masks[i] else None,
            patient=patients[i] or slide,
            slide=slide,
            split=splits[i],
            mpp=mpps[i],
            source=sources[i],
            x=xs[i],
            y=ys[i],
            row=row,
        )


def _refuse_repeats(manifest: Manifest) -> None:
    rows: dict[str, list[int]] = defaultdict(list)
    for record in manifest.records:
        rows[os.path.normpath(record.image)].append(record.row)
    repeated = [(image, found) for image, found in rows.items() if len(found) > 1]
    if repeated:
        image, found = repeated[0]
        raise ManifestError(
            f"image {image!r} stands in rows {found[0]} and {found[1]}"
            + (f", and {len(repeated) - 1} more images twice" if len(repeated) > 1 else ""),
            where=manifest.path,
            expected="one row per image",
            remedy="Keep one row of each image",
        )


def _refuse_missing(manifest: Manifest) -> None:
    wanted = [
        (record.row, kind, path)
        for record in manifest.records
        for kind, path in (("image", record.image), ("mask", record.mask))
        if path is not None
    ]
    missing = [entry for entry in wanted if not os.path.isfile(entry[2])]  # noqa: PTH113 - faster
    if missing:
        shown = ", ".join(f"row {row} {kind} {str(path)!r}" for row, kind, path in missing[:3])
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise ManifestError(
            f"{len(missing)} of {len(wanted)} files are missing: {shown}{more}",
            where=manifest.path,
            remedy="Correct the paths, which count from the table's own folder",
        )


def _content(path: Path) -> tuple[int, str]:
    """Size in bytes and SHA-256 of a file, read in pieces."""
    digest, size = hashlib.sha256(), 0
    try:
        with path.open("rb") as file:
            while piece := file.read(_CHUNK):
                digest.update(piece)
                size += len(piece)
    except (OSError, ValueError) as error:
        raise ImageError(
            f"cannot be read ({error})", where=path, remedy="Correct the manifest or the file"
        ) from error
    return size, digest.hexdigest()


def _columns(manifest: Manifest, folder: Path) -> dict[str, list[Any]]:
    records, relative = manifest.records, _Relative(folder)
    columns: dict[str, list[Any]] = {"image": [relative(r.image) for r in records]}
    for index, name in enumerate(manifest.classes.names):
        columns[name] = [r.labels[index] if r.labels else None for r in records]
    columns["mask"] = [relative(r.mask) if r.mask else None for r in records]
    for name in ("patient", "slide", "split", "mpp", "source", "x", "y"):
        columns[name] = [getattr(r, name) for r in records]
    return columns


class _Relative:
    """Writes paths relative to a folder; works out each parent folder once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.known: dict[Path, Path] = {}

    def __call__(self, path: Path) -> str:
        parent = path.parent
        if parent not in self.known:
            self.known[parent] = self._relative(parent)
        return (self.known[parent] / path.name).as_posix()

    def _relative(self, parent: Path) -> Path:
        try:
            found = Path(os.path.relpath(parent, self.folder))
            if ".." in found.parts:
                # The system follows a link before it goes up: count from where links lead.
                found = Path(os.path.relpath(parent.resolve(), self.folder.resolve()))
        except ValueError:  # another drive on Windows
            return parent.absolute()
        return found


__all__ = ["CLASS_FILE", "SPLITS", "Manifest", "Record"]
