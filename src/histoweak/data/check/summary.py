"""What a data set holds, split by split and class by class."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from histoweak.data.check.finding import Checked
from histoweak.data.check.measure import Facts
from histoweak.data.manifest import SPLITS, Record


@dataclass(frozen=True)
class ClassCounts:
    """One class within a split.

    Args:
        name: the class.
        images: labelled images that hold it.
        alone: labelled images that hold nothing else.
        pixels: share of the pixels of all masks that carry a class; None without masks.
    """

    name: str
    images: int
    alone: int
    pixels: float | None


@dataclass(frozen=True)
class SplitSummary:
    """What one split holds.

    Args:
        name: train, val, test, or '' for rows without a split.
        images: rows.
        usable: images that can be read.
        labelled: rows with a label.
        masks: masks that can be used.
        patients: different patients.
        slides: different slides.
        white: mean share of white background.
        sizes: (height, width) and how many images have it, the most frequent first.
        mpp: microns per pixel, None for unknown, and how many images have it.
        classes: K entries.
    """

    name: str
    images: int
    usable: int
    labelled: int
    masks: int
    patients: int
    slides: int
    white: float | None
    sizes: tuple[tuple[tuple[int, int], int], ...]
    mpp: tuple[tuple[float | None, int], ...]
    classes: tuple[ClassCounts, ...]


def summarise(checked: Checked) -> tuple[SplitSummary, ...]:
    """One summary for each split that has rows, train first."""
    there = {r.split for r in checked.manifest.records}
    order = [name for name in (*SPLITS, "") if name in there]
    names = checked.manifest.classes.names
    rows = checked.rows()
    return tuple(_split(n, [(r, f) for _, r, f in rows if r.split == n], names) for n in order)


def _split(name: str, rows: Sequence[tuple[Record, Facts]], names: Sequence[str]) -> SplitSummary:
    white = [f.white for _, f in rows if f.white is not None]
    sizes = Counter(f.size for _, f in rows if f.size is not None)
    return SplitSummary(
        name=name,
        images=len(rows),
        usable=sum(not f.problem for _, f in rows),
        labelled=sum(bool(r.labels) for r, _ in rows),
        masks=sum(f.pixels is not None for _, f in rows),
        patients=len({r.patient for r, _ in rows}),
        slides=len({r.slide for r, _ in rows}),
        white=sum(white) / len(white) if white else None,
        sizes=tuple(sizes.most_common()),
        mpp=tuple(Counter(r.mpp for r, _ in rows).most_common()),
        classes=_classes(rows, names),
    )


def _classes(rows: Sequence[tuple[Record, Facts]], names: Sequence[str]) -> tuple[ClassCounts, ...]:
    labels = [r.labels for r, _ in rows if r.labels]
    masks = [f.pixels for _, f in rows if f.pixels is not None]
    marked = sum(sum(pixels[:-1]) for pixels in masks)
    return tuple(
        ClassCounts(
            name=name,
            images=sum(label[k] for label in labels),
            alone=sum(label[k] == sum(label) == 1 for label in labels),
            pixels=sum(pixels[k] for pixels in masks) / marked if marked else None,
        )
        for k, name in enumerate(names)
    )
