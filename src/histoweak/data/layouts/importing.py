"""Import a public data set: find its images, turn its masks into index masks, write a manifest."""

import json
import os
import re
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from histoweak.atomic import replacing
from histoweak.data.images import probe, read_mask
from histoweak.data.layouts.layout import Found, Layout, LayoutMismatchError, Options
from histoweak.data.layouts.masks import convert_mask
from histoweak.data.layouts.patients import check_patients, name_patients
from histoweak.data.layouts.registry import nearest_layout
from histoweak.data.manifest import Manifest, Record
from histoweak.data.skips import DEFAULT_LIMIT, Skips
from histoweak.data.tile import present
from histoweak.errors import ManifestError, OutputError
from histoweak.progress import Progress

MASKS = "masks"
NO_PATIENTS = "each image counts as its own patient: give --patient if the paths name patients"
STAMP = "import.json"


@dataclass(frozen=True)
class Imported:
    """A manifest as written, and what the user should know of it."""

    manifest: Manifest
    notes: tuple[str, ...]


def import_data(
    layout: Layout,
    root: Path,
    out: Path,
    options: Options,
    *,
    patient: re.Pattern[str] | None = None,
    part_patients: bool = False,
    limit: float = DEFAULT_LIMIT,
    progress: Progress | None = None,
) -> Imported:
    """Write the manifest of a data set; images stay where they are.

    Where masks as distributed hold other values than class indices and 255, index masks are
    written to `masks/` beside the manifest; a second call takes up the work. A row whose name
    states no label gets that of its mask: every class with at least one pixel. `import.json`
    says what was imported; `skipped.csv` lists images whose mask could not be used.

    Args:
        layout: how the data set is laid out.
        root: its folder (or table).
        out: manifest to write, .csv or .parquet.
        options: what the files do not say.
        patient: pattern whose first group, found in an image's path below `root`, is its patient.
        part_patients: where the published splits divide a patient, count its images in each
            split as another patient; the published splits can then be used as they are.
        limit: share of masks that may be unusable.
        progress: shows how far it is.

    Raises:
        ManifestError: the files are not there; the message names the nearest layout that fits.
        ImageError: too many masks cannot be used.
        OutputError: not writable, or the folder holds another data set.
        ConfigError: an option that the layout does not use, or one that it misses.
    """
    layout.refuse_others(options)
    found = _find(layout, root, options)
    records = found.records if patient is None else name_patients(found.records, root, patient)
    records, notes = check_patients(records, part_patients)
    _claim(layout, root, out, found)
    skips = Skips(len(records), limit, log=out.parent / "skipped.csv")
    kept: list[Record] = []
    task = progress.task(len(records), "importing") if progress is not None else None
    with task or nullcontext():
        for record in records:
            with skips.catch(record.image):
                kept.append(_with_mask(record, found, root, out.parent))
            if task is not None:
                task.advance(1)
    skips.write(out.parent / "skipped.csv")
    manifest = Manifest(found.classes, tuple(kept)).write(out)
    alone = (NO_PATIENTS,) if found.no_patients and patient is None else ()
    return Imported(manifest, (*found.notes, *alone, *notes))


def _find(layout: Layout, root: Path, options: Options) -> Found:
    if not root.exists():
        raise ManifestError("does not exist", where=root, remedy="Correct the path")
    try:
        return layout.find(root, options)
    except LayoutMismatchError as error:
        other = nearest_layout(root, layout)
        fits = "no other layout fits either, see `histoweak data layouts`"
        if other is not None:
            fits = f"the layout {other.name!r} would fit this folder"
        raise ManifestError(
            f"does not fit the layout {layout.name!r}: {_told(error, root)}",
            where=root,
            expected=error.expected or layout.looks_like,
            remedy=f"{error.remedy}; {fits}",
        ) from error


def _told(error: LayoutMismatchError, root: Path) -> str:
    return error.problem if error.where in (None, root) else f"{error.where} {error.problem}"


def _claim(layout: Layout, root: Path, out: Path, found: Found) -> None:
    """Note what is imported, refusing a folder that holds anything else of these names."""
    stamp, masks = out.parent / STAMP, out.parent / MASKS
    values = None if found.values is None else sorted(found.values.items())
    note = {
        "layout": layout.name,
        "source": Path(os.path.relpath(root, out.parent)).as_posix(),
        "classes": found.classes.to_dict(),
        "values": values,
    }
    text = json.dumps(note, indent=2, ensure_ascii=False) + "\n"
    try:
        old = stamp.read_text(encoding="utf-8") if stamp.exists() else None
    except (OSError, ValueError) as error:
        raise OutputError(
            f"cannot be read ({error})", where=stamp, remedy="Choose another folder"
        ) from error
    taken = [p for p in (out, masks if values else out) if p.exists()]
    if old != text and (old is not None or taken):
        raise OutputError(
            f"holds another data set ({STAMP if old is not None else taken[0].name})",
            where=out.parent,
            remedy=f"Give the manifest a folder of its own: --out {layout.name}/{out.name}; to "
            f"import anew with other options, remove {STAMP} and what was written beside it",
        )
    with replacing(stamp) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _with_mask(record: Record, found: Found, root: Path, folder: Path) -> Record:
    """The record with its index mask, and with the label of the mask where it has none."""
    if record.mask is None:
        return record
    size = probe(record.image).size
    if found.values is None:
        target, mask = record.mask, read_mask(record.mask, len(found.classes), size)
    else:
        target = folder / MASKS / record.mask.relative_to(root).with_suffix(".png")
        mask = convert_mask(
            record.mask, target, found.classes, found.values, size,
            found.backgrounds.get(record.mask),
        )  # fmt: skip
    labels = record.labels or present(mask, len(found.classes), 0.0)
    return replace(record, mask=target, labels=labels)
