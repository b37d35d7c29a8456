"""GlaS (Sirinukunwattana et al., Medical Image Analysis 35, 2017): glands of the colon."""

import re
from pathlib import Path

from histoweak.data.glas import CLASSES, MPP
from histoweak.data.layouts.folders import MASK_FOLDERS, images_below
from histoweak.data.layouts.layout import Found, Layout, LayoutMismatchError, Options
from histoweak.data.manifest import Record
from histoweak.data.table import read_table
from histoweak.errors import ManifestError

OBJECTS = {0: 0} | dict.fromkeys(range(1, 256), 1)
"""Annotations number the glands of an image; 0 is other tissue."""

_NAME = re.compile(r"(?P<part>train|testA|testB)_(?P<number>\d+)(?P<annotation>_anno)?")
_GRADES = "Grade.csv"


def find(root: Path, options: Options) -> Found:
    """Find the images of train, testA and testB, wherever they are below the folder.

    Either as distributed, `train_1.bmp` with `train_1_anno.bmp`, or in folders with an index
    mask of the same name in `masks`. Each image counts as its own patient.
    """
    images: dict[str, Path] = {}
    masks: dict[str, Path] = {}
    for path in images_below(root):
        found = _NAME.fullmatch(path.stem)
        if found is None:
            continue
        annotation = found["annotation"] or path.parent.name.lower() in MASK_FOLDERS
        side = masks if annotation else images
        name = f"{found['part']}_{found['number']}"
        if name in side:
            raise LayoutMismatchError(
                f"stands twice, also as {side[name]}",
                where=path,
                remedy="Keep one copy of the data set in the folder",
            )
        side[name] = path
    pairs = sorted(images.keys() & masks.keys(), key=_order)
    if not pairs:
        raise LayoutMismatchError(
            f"{len(images)} images and {len(masks)} annotations, none of which belong together",
            where=root,
            expected="train_1.bmp with train_1_anno.bmp, or train/images and train/masks",
            remedy="Give the folder that holds them",
        )
    records = tuple(_record(name, images[name], masks[name]) for name in pairs)
    return Found(CLASSES, records, OBJECTS, notes=_notes(root, images, set(pairs)))


def _order(name: str) -> tuple[bool, str, int]:
    part, number = name.split("_")
    return part != "train", part, int(number)


def _record(name: str, image: Path, mask: Path) -> Record:
    split = "train" if name.startswith("train") else "test"
    return Record(image=image, mask=mask, patient=name, slide=name, split=split, mpp=MPP)


def _notes(root: Path, images: dict[str, Path], pairs: set[str]) -> tuple[str, ...]:
    bare = sorted(images.keys() - pairs, key=_order)
    notes = [f"{len(bare)} images have no annotation, as {bare[0]}: left out"] if bare else []
    for table in sorted(root.rglob(_GRADES)):
        try:
            listed = {str(cell) for cell in read_table(table).columns.get("name", [])}
        except ManifestError as error:
            notes.append(str(error))
            continue
        lacking = sorted(name for name in listed - images.keys() if _NAME.fullmatch(name))
        if lacking:
            notes.append(f"{len(lacking)} images of {table} are not there, as {lacking[0]}")
    return tuple(notes)


LAYOUT = Layout(
    name="glas",
    title="GlaS: glands in colorectal tissue, 165 images at 20x",
    looks_like="train_1.bmp with train_1_anno.bmp, testA_1.bmp, testB_1.bmp, ..., Grade.csv; "
    "or train, testA, testB with images and masks",
    where="the GlaS challenge, glas.grand-challenge.org; "
    "Sirinukunwattana et al., Medical Image Analysis 35 (2017), doi 10.1016/j.media.2016.08.008",
    terms="for research only, no commercial use; its publications are to be cited",
    find=find,
)
