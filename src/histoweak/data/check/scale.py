"""Microns per pixel: missing, implausible, or several."""

from collections import Counter

from histoweak.data.check.finding import Checked, Finding, Item, found

PLAUSIBLE = (0.1, 10.0)
"""Microns per pixel of light microscopes: finer than the light resolves, or no cells to be seen."""


def find_scale_faults(checked: Checked) -> list[Finding]:
    """Rows without a scale, with one that no microscope has, and data sets of several."""
    rows = list(enumerate(checked.manifest.records))
    missing = tuple(i for i, r in rows if r.mpp is None)
    low, high = PLAUSIBLE
    strange = [
        Item(f"{r.mpp:g} microns per pixel", (i,))
        for i, r in rows
        if r.mpp is not None and not low <= r.mpp <= high
    ]
    counts = Counter(r.mpp for _, r in rows if r.mpp is not None)
    several = [
        Item(f"{mpp:g} microns per pixel: {n} of {len(rows)} images")
        for mpp, n in sorted(counts.items())
    ]
    return [
        *found(
            "mpp-missing", "warning", "Images without microns per pixel",
            "They cannot be brought to one scale: a network sees cells of one size in training "
            "and of another in use. Fill the column mpp.",
            [Item(f"{len(missing)} of {len(rows)} images", missing)] if missing else [],
        ),
        *found(
            "mpp-strange", "warning", f"Scales outside {low:g} to {high:g} microns per pixel",
            "Perhaps another unit, or the magnification of the objective in its place.", strange,
        ),
        *found(
            "mpp-several", "note", "Images of several scales",
            "A method with frames.mpp set brings them to one; without it cells differ in size.",
            several if len(several) > 1 else [],
        ),
    ]  # fmt: skip
