"""Labels: missing, contradicted by the mask, and how they are spread over the classes."""

from collections.abc import Iterator

from histoweak.data.check.config import CheckConfig
from histoweak.data.check.finding import Checked, Finding, Item, found
from histoweak.data.manifest import Record


def find_label_faults(checked: Checked, config: CheckConfig) -> list[Finding]:
    """Rows whose label is missing, says nothing, or is not what the mask says."""
    rows = checked.rows()
    missing = [
        Item("no label", (i,)) for i, r, _ in rows if r.split in ("train", "") and not r.labels
    ]
    nothing = [
        Item("0 for every class", (i,)) for i, r, _ in rows if r.labels and not any(r.labels)
    ]
    contradictions = [
        Item(", ".join(why), (i,))
        for i in range(len(rows))
        if (why := _against(checked, i, config))
    ]
    return [
        *found(
            "label-missing", "error", "Images to train on without a label",
            "Label them, or give them to another split.", missing,
        ),
        *found(
            "label-against-mask", "error", "Labels that the mask contradicts",
            "A labelled class has no pixel in the mask, or a class that is not labelled covers "
            f"more than {100 * config.presence:g} % of it. Correct the label or the mask; if your "
            "labels follow another share, give it with --presence.", contradictions,
        ),
        *found(
            "label-empty", "note", "Images labelled with no class",
            "They teach where no class is. If that is not meant, label them.", nothing,
        ),
    ]  # fmt: skip


def _against(checked: Checked, position: int, config: CheckConfig) -> list[str]:
    record, pixels = checked.manifest.records[position], checked.facts[position].pixels
    if not record.labels or pixels is None:
        return []
    total = sum(pixels)
    said = []
    for name, label, count in zip(checked.manifest.classes.names, record.labels, pixels):  # noqa: B905 - the last count is of ignored pixels
        if label and count == 0:
            said.append(f"labelled {name!r}, which the mask lacks")
        elif not label and count / total > config.presence:
            said.append(f"not labelled {name!r}, {100 * count / total:.1f} % of the mask")
    return said


def find_balance(checked: Checked, config: CheckConfig) -> list[Finding]:
    """Classes that training will hardly see, or never alone."""
    train = [r for r in checked.manifest.split("train") if r.labels]
    if not train:
        return found(
            "no-train", "warning", "No labelled image is in the split train",
            "Nothing can be trained. Fill the column split, or run `histoweak data split`.",
            [Item(_splits_there(checked))],
        )  # fmt: skip
    return [
        *found(
            "class-absent", "error", "Classes that no training image holds",
            "Split anew with another seed, add images of them, or drop the class.",
            list(_absent(checked, train)),
        ),
        *found(
            "class-rare", "warning", f"Classes in fewer than {100 * config.rare:g} % of the "
            "training images", "Their scores will vary much from one training to the next. Add "
            "images of them if you can.", list(_rare(checked, train, config)),
        ),
        *found(
            "class-never-alone", "warning", "Classes that never stand alone in a training image",
            "A label on a patch of one class labels each of its pixels. Methods that start from "
            "such patches (HisynSeg and others that mix them) cannot learn these classes.",
            list(_never_alone(checked, train)),
        ),
    ]  # fmt: skip


def _splits_there(checked: Checked) -> str:
    names = dict.fromkeys(r.split or "unassigned" for r in checked.manifest.records)
    return f"{len(checked.manifest.records)} images, all in: {', '.join(names) or 'nothing'}"


def _absent(checked: Checked, train: list[Record]) -> Iterator[Item]:
    for k, name in enumerate(checked.manifest.classes.names):
        if not any(r.labels[k] for r in train):
            yield Item(f"{name!r}: 0 of {len(train)} images")


def _rare(checked: Checked, train: list[Record], config: CheckConfig) -> Iterator[Item]:
    for k, name in enumerate(checked.manifest.classes.names):
        count = sum(r.labels[k] for r in train)
        if 0 < count < config.rare * len(train):
            yield Item(f"{name!r}: {count} of {len(train)} images")


def _never_alone(checked: Checked, train: list[Record]) -> Iterator[Item]:
    for k, name in enumerate(checked.manifest.classes.names):
        holding = [r for r in train if r.labels[k]]
        if holding and all(sum(r.labels) > 1 for r in holding):
            yield Item(f"{name!r}: in {len(holding)} images, always with other classes")
