"""Files that cannot be read, are of an unusual kind or size, or show no tissue."""

from collections import Counter
from collections.abc import Iterator

from histoweak.data.check.config import CheckConfig
from histoweak.data.check.finding import Checked, Finding, Item, found
from histoweak.data.check.measure import Facts
from histoweak.data.manifest import Record

_ENDINGS = {
    "PNG": (".png",), "JPEG": (".jpg", ".jpeg"), "MPO": (".jpg", ".jpeg", ".mpo"),
    "TIFF": (".tif", ".tiff"), "BMP": (".bmp",), "WEBP": (".webp",),
}  # fmt: skip
_USUAL_SHARE = 0.9


def find_unreadable(checked: Checked) -> list[Finding]:
    """Images and masks that cannot be used, each with its reason."""
    images = [Item(f.problem, (i,)) for i, _, f in checked.rows() if f.problem]
    masks = [Item(f.mask_problem, (i,)) for i, _, f in checked.rows() if f.mask_problem]
    return [
        *found(
            "unreadable", "error", "Images that cannot be used",
            "Training and prediction skip them, and stop when they are too many. Replace the files "
            "or take their rows out.", images,
        ),
        *found(
            "unreadable-mask", "error", "Masks that cannot be used",
            "Without its mask an image cannot be scored. Correct the file.", masks,
        ),
    ]  # fmt: skip


def find_odd(checked: Checked, config: CheckConfig) -> list[Finding]:
    """Unusual pixel formats, sizes and endings, and images of hardly any tissue."""
    readable = [row for row in checked.rows() if not row[2].problem]
    odd = [Item(", ".join(why), (i,)) for i, r, f in readable if (why := list(_oddities(r, f)))]
    small = [
        Item(_shape(f), (i,)) for i, _, f in readable if min(f.size or (0, 0)) < config.least_side
    ]
    empty = [
        Item(f"{100 * f.white:.1f} % white", (i,))
        for i, _, f in readable
        if f.white is not None and f.white > config.white
    ]
    return [
        *found(
            "small", "warning", f"Images with a side below {config.least_side} pixels",
            "Networks shrink their input by 32: such images show them next to nothing.", small,
        ),
        *found(
            "empty", "warning", f"Images that are more than {100 * config.white:g} % white",
            "There is hardly any tissue to learn from or to score. Look whether their labels "
            "are right.", empty,
        ),
        *found(
            "size", "note", "Images of another size than nearly all of their split",
            "Not wrong, but often a sign of files that do not belong here.",
            list(_other_sizes(readable)),
        ),
        *found(
            "format", "note", "Images that are not plain upright 8-bit RGB",
            "They are converted when read: grey and palette images to RGB, transparency onto "
            "white, 16 bits to 8, and turned as their EXIF orientation says. Look whether they "
            "show what you expect.", odd,
        ),
    ]  # fmt: skip


def _oddities(record: Record, facts: Facts) -> Iterator[str]:
    if facts.mode != "RGB":
        yield f"pixel format {facts.mode}"
    if facts.orientation != 1:
        yield f"EXIF orientation {facts.orientation}"
    if record.image.suffix.lower() not in _ENDINGS.get(facts.format, ()):
        yield f"a {facts.format} file that ends in {record.image.suffix or 'nothing'!r}"


def _other_sizes(rows: list[tuple[int, Record, Facts]]) -> Iterator[Item]:
    for split in dict.fromkeys(r.split for _, r, _ in rows):
        inside = [(i, f) for i, r, f in rows if r.split == split]
        usual, count = Counter(f.size for _, f in inside).most_common(1)[0]
        if usual is None or count < _USUAL_SHARE * len(inside):
            continue
        for i, f in inside:
            if f.size != usual:
                yield Item(f"{_shape(f)}, others {usual[0]}x{usual[1]}", (i,))


def _shape(facts: Facts) -> str:
    height, width = facts.size or (0, 0)
    return f"{height}x{width} (height x width)"
