"""Patients, slides and source images that stand in two splits."""

from collections import Counter, defaultdict

from histoweak.data.check.finding import Checked, Finding, Item, found


def find_leakage(checked: Checked) -> list[Finding]:
    """Whatever of one origin is divided among splits, and whether origins are known at all."""
    findings = [
        finding
        for kind, title in (
            ("patient", "Patients in two splits"),
            ("slide", "Slides in two splits"),
            ("source", "Source images in two splits"),
        )
        for finding in found(
            f"{kind}-in-two-splits", "error", title,
            "Tissue of one origin looks alike: figures come out too good. Split anew with "
            "`histoweak data split`.", _divided(checked, kind),
        )
    ]  # fmt: skip
    return findings + found(
        "patients-unknown", "warning", "Every image has a patient of its own",
        "The column patient is missing or names single images: whether one patient is in two "
        "splits cannot be checked, and intervals over patients come out too narrow.",
        _unknown(checked),
    )  # fmt: skip


def _divided(checked: Checked, kind: str) -> list[Item]:
    """One case for each patient (or slide, source) in more than one split."""
    members: dict[str, list[int]] = defaultdict(list)
    for i, record in enumerate(checked.manifest.records):
        name = getattr(record, kind)
        if name and record.split:
            members[name].append(i)
    items = []
    for name, images in members.items():
        splits = {checked.manifest.records[i].split: i for i in reversed(images)}
        if len(splits) > 1:
            counts = Counter(checked.manifest.records[i].split for i in images)
            said = ", ".join(f"{split} {n}" for split, n in counts.items())
            firsts = tuple(sorted(splits.values()))
            items.append(Item(f"{kind} {name!r}: {said}", firsts))
    return items


def _unknown(checked: Checked) -> list[Item]:
    records = checked.manifest.records
    patients = len({r.patient for r in records})
    if patients < len(records) or len(records) < 2:
        return []
    return [Item(f"{patients} patients for {len(records)} images")]
