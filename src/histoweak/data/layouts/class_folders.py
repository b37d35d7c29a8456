"""One folder per class, such as normal and malignant, with or without folders of splits."""

from pathlib import Path

from histoweak.classes import ClassSet
from histoweak.data.layouts.folders import (
    IMAGE_FOLDERS,
    MASK_FOLDERS,
    images_below,
    split_folders,
    subfolders,
)
from histoweak.data.layouts.layout import Found, Layout, LayoutMismatchError, Options
from histoweak.data.manifest import Record


def find(root: Path, options: Options) -> Found:
    """Find the images of each class; a class is present in the images of its folder alone.

    Classes are the folders in the order of their names, unless the options give an order.
    """
    try:
        splits = split_folders(root)
    except LayoutMismatchError:
        splits = {options.split: root}
    folders = {
        split: {inner.name: images_below(inner) for inner in subfolders(home)}
        for split, home in splits.items()
    }
    present = {name for inner in folders.values() for name, images in inner.items() if images}
    names = options.classes or tuple(sorted(present))
    foreign = present & {*IMAGE_FOLDERS, *MASK_FOLDERS}
    if len(present) < 2 or foreign or present - set(names):
        odd = sorted(foreign or present - set(names))
        raise LayoutMismatchError(
            f"{odd[0]!r} is no class" if odd else f"{len(present)} folders with images",
            where=root,
            expected=f"one folder per class: {', '.join(options.classes) or 'normal, malignant'}",
            remedy="Give the folder that holds the folders of the classes",
        )
    records = tuple(
        _record(root, image, split, tuple(int(name == own) for name in names), options.mpp)
        for split, inner in folders.items()
        for own in names
        for image in inner.get(own, [])
    )
    return Found(ClassSet(names), records, no_patients=True)


def _record(
    root: Path, image: Path, split: str, labels: tuple[int, ...], mpp: float | None
) -> Record:
    name = image.relative_to(root).with_suffix("").as_posix()
    return Record(image=image, labels=labels, patient=name, slide=name, split=split, mpp=mpp)


LAYOUT = Layout(
    name="class-folders",
    title="class folders: every image lies in the folder of its one class",
    looks_like="normal/**/*.png, malignant/**/*.png; or train/normal/..., test/normal/...",
    where="your own data, and many public sets",
    terms="those of the data",
    find=find,
    takes=("classes", "mpp", "split"),
)
