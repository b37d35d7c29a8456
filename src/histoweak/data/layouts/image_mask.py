"""A folder of images beside a folder of masks of the same names."""

from dataclasses import replace
from pathlib import Path

from histoweak.classes import IGNORE_INDEX, ClassSet
from histoweak.data.annotated import pair_folders
from histoweak.data.layouts.folders import IMAGE_FOLDERS, MASK_FOLDERS, named, split_folders
from histoweak.data.layouts.layout import Found, Layout, LayoutMismatchError, Options
from histoweak.data.manifest import Record
from histoweak.errors import ConfigError


def find(root: Path, options: Options) -> Found:
    """Find the pairs, directly below the folder or below folders of splits.

    Each image counts as its own patient; the options name the classes.
    """
    pairs = {options.split: found} if (found := _pair(root)) else {}
    if not pairs:
        pairs = {s: p for s, f in _splits(root).items() if (p := _pair(f)) is not None}
    if not pairs:
        raise LayoutMismatchError(
            "no folder of images beside a folder of masks",
            where=root,
            expected=f"{' or '.join(IMAGE_FOLDERS)}, and {' or '.join(MASK_FOLDERS)}",
            remedy="Give the folder that holds them",
        )
    if not options.classes:
        raise ConfigError(
            "--classes is missing",
            where="image-mask",
            expected="the names of mask values 0, 1, ...: 'other,gland'",
            remedy="Name the classes",
        )
    records = tuple(
        _own(record, split if len(pairs) > 1 else "")
        for split, (images, masks) in pairs.items()
        for record in pair_folders(images, masks, split, options.mpp)
    )
    return Found(ClassSet(options.classes), records, _values(options), no_patients=True)


def _pair(folder: Path) -> tuple[Path, Path] | None:
    images, masks = named(folder, IMAGE_FOLDERS), named(folder, MASK_FOLDERS)
    return None if images is None or masks is None else (images, masks)


def _splits(root: Path) -> dict[str, Path]:
    try:
        return split_folders(root)
    except LayoutMismatchError:
        return {}


def _own(record: Record, split: str) -> Record:
    """An image of one name in two splits is two images."""
    name = f"{split}-{record.patient}" if split else record.patient
    return replace(record, patient=name, slide=name)


def _values(options: Options) -> dict[int, int] | None:
    if options.values is None and not options.ignore:
        return None
    values = options.values or tuple(range(len(options.classes)))
    all_values = [*values, *options.ignore]
    if len(values) != len(options.classes) or len(set(all_values)) != len(all_values):
        raise ConfigError(
            f"--values {list(values)} and --ignore {list(options.ignore)}",
            where="image-mask",
            expected=f"a value of its own for each of {len(options.classes)} classes",
            remedy="Give one mask value per class, in the order of --classes",
        )
    # 255 stays ignored unless it is named: a mask of 0 and 255 has 255 for a class.
    meant = {IGNORE_INDEX: IGNORE_INDEX} | {value: i for i, value in enumerate(values)}
    return meant | dict.fromkeys(options.ignore, IGNORE_INDEX)


LAYOUT = Layout(
    name="image-mask",
    title="image folder and mask folder: index masks named as the images",
    looks_like="images/*.png with masks/*.png; or train/images, train/masks, test/images, ...",
    where="your own data",
    terms="those of the data",
    find=find,
    takes=("classes", "values", "ignore", "mpp", "split"),
)
