"""Patches in train, val and test whose train labels stand in the file names.

LUAD-HistoSeg, BCSS-WSSS and WSSS4LUAD share this form: train images named with their label,
val and test with `img` and `mask` folders. They differ in classes, colours and names.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from histoweak.classes import ClassSet
from histoweak.data.layouts.folders import (
    IMAGE_FOLDERS,
    MASK_FOLDERS,
    images_in,
    named,
    split_folders,
)
from histoweak.data.layouts.layout import LayoutMismatchError
from histoweak.data.layouts.names import label_in_name, without_label
from histoweak.data.manifest import Record

BACKGROUND_FOLDERS = ("background-mask", "background_mask")

Fields = Callable[[str], tuple[str, str, float | None]]
"""From a name without its label: patient, slide ('' where it names none), microns per pixel."""


@dataclass
class Patches:
    """What `find_patches` gathers.

    Args:
        records: one per image.
        backgrounds: background image of each mask that has one.
        unusable: images that lack a label, in val and test also a mask.
    """

    records: list[Record]
    backgrounds: dict[Path, Path]
    unusable: list[Path]

    @property
    def notes(self) -> tuple[str, ...]:
        """A sentence about images that were left out."""
        if not self.unusable:
            return ()
        first = self.unusable[0]
        return (f"{len(self.unusable)} images lack a label or mask, as {first}: left out",)


def find_patches(root: Path, classes: ClassSet, fields: Fields, mpp: float | None) -> Patches:
    """Find the patches of all splits.

    Args:
        root: folder that holds the folders of the splits.
        classes: K classes, as many as a label has digits.
        fields: what a name says; raises `LayoutMismatchError` for a name of another data set.
        mpp: microns per pixel where the names say nothing.

    Raises:
        LayoutMismatchError: no splits, no images, or names of another data set.
    """
    found = Patches([], {}, [])
    splits = split_folders(root)
    for split, folder in splits.items():
        images = named(folder, IMAGE_FOLDERS) or folder
        masks = named(folder, MASK_FOLDERS)
        backgrounds = named(folder, BACKGROUND_FOLDERS)
        for image in images_in(images):
            label = label_in_name(image.stem, len(classes))
            patient, slide, scale = fields(without_label(image.stem))
            own = f"{split}-{image.stem}"  # 00.png of val and 00.png of test are two
            record = Record(
                image=image, labels=label, patient=patient or own, slide=slide or own,
                split=split, mpp=scale or mpp,
            )  # fmt: skip
            mask = _beside(masks, image)
            if not label and (mask is None or split == "train"):
                found.unusable.append(image)
                continue
            found.records.append(replace(record, mask=mask))
            background = _beside(backgrounds, image)
            if mask is not None and background is not None:
                found.backgrounds[mask] = background
    filled = {record.split for record in found.records}
    if not filled or ("train" in splits and "train" not in filled):
        raise LayoutMismatchError(
            "no images with a label in the name, such as x-[1 0 0 1].png, or with a mask",
            where=root,
            expected="train/*.png, and val and test with img and mask",
            remedy="Give the folder that holds them",
        )
    return found


def _beside(folder: Path | None, image: Path) -> Path | None:
    """The mask of an image: of its name, with or without the label, and always PNG."""
    if folder is None:
        return None
    names = (f"{image.stem}.png", f"{without_label(image.stem)}.png")
    return next((folder / name for name in names if (folder / name).is_file()), None)
