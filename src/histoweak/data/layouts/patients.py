"""Who the images come from, and whether published splits keep them apart."""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from histoweak.data.manifest import Record
from histoweak.errors import ManifestError


def name_patients(
    records: Sequence[Record], root: Path, pattern: re.Pattern[str]
) -> tuple[Record, ...]:
    """Take the patient of each image from its path.

    Args:
        records: images below `root`.
        root: folder from which paths count.
        pattern: searched in the path with forward slashes; its first group is the patient, or
            all that it matches where it has no group.

    Raises:
        ManifestError: a path in which the pattern is not found.
    """
    named: list[Record] = []
    for record in records:
        inside = record.image.is_relative_to(root)
        path = (record.image.relative_to(root) if inside else record.image).as_posix()
        found = pattern.search(path)
        name = found[1 if pattern.groups else 0] if found else None
        if not name:
            raise ManifestError(
                f"pattern {pattern.pattern!r} finds no patient in {path!r}",
                where=root,
                expected="a pattern that is found in the path of every image",
                remedy="Correct --patient, for example '/(P[0-9]+)_'",
            )
        named.append(replace(record, patient=name))
    return tuple(named)


def check_patients(
    records: Sequence[Record], part: bool
) -> tuple[tuple[Record, ...], tuple[str, ...]]:
    """See whether splits divide patients, and part such patients if asked.

    Args:
        records: with patients and splits.
        part: count the images of a divided patient as another patient in each split.

    Returns:
        The records, and what to tell the user.
    """
    splits: dict[str, set[str]] = defaultdict(set)
    for record in records:
        splits[record.patient].add(record.split)
    divided = sorted(patient for patient, found in splits.items() if len(found) > 1)
    if not divided:
        return tuple(records), ()
    told = f"{len(divided)} of {len(splits)} patients are in more than one split, as {divided[0]}"
    if not part:
        return tuple(records), (
            f"{told}: split anew with `histoweak data split`, or import with --part-patients to "
            "keep the published splits, whose figures are then too good",
        )
    parted = tuple(
        replace(r, patient=f"{r.patient} ({r.split})") if len(splits[r.patient]) > 1 else r
        for r in records
    )
    return parted, (f"{told}: counted as another patient in each split",)
