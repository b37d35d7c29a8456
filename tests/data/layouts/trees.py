"""Tiny copies of public data sets, true to their names, folders and pixel formats."""

from pathlib import Path

import numpy as np
from PIL import Image

SIZE = (6, 8)  # height, width


def image(path: Path, size: tuple[int, int] = SIZE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size, 3), 180, np.uint8)).save(path)
    return path


def mask(path: Path, values: list[int], palette: bool = True) -> Path:
    """Columns of the given values, in the pixel format of the data set."""
    array = np.zeros(SIZE, np.uint8)
    for column, value in enumerate(values):
        array[:, column] = value
    array[:, len(values) :] = values[-1]
    picture = Image.fromarray(array)
    if palette:
        picture.putpalette([v % 256 for v in range(768)])
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)
    return path


def read(path: Path | None) -> list[int]:
    """First row of a mask as stored."""
    assert path is not None
    with Image.open(path) as picture:
        return [int(v) for v in np.asarray(picture)[0]]


def luad(root: Path, train: str = "train", val: str = "val", test: str = "test") -> Path:
    image(root / train / "1031280-2300-27920-[1 0 0 1].png")
    image(root / train / "1031280-4092-15376-[0 1 0 0].png")
    image(root / train / "TCGA-55-1594-01Z-00-DX1-900-100-[0 0 1 0].png")
    image(root / val / "img" / "385277-44539-46781.png")
    mask(root / val / "mask" / "385277-44539-46781.png", [0, 3, 4])
    image(root / test / "img" / "387709-10004-55944.png")
    mask(root / test / "mask" / "387709-10004-55944.png", [1, 2, 4])
    return root


ROI = "TCGA-A1-A0SK-DX1_xmin45749_ymin25055_MPP-0.2500"


def bcss_wsss(root: Path, train: str = "train") -> Path:
    image(root / train / f"{ROI}+0[1101].png")
    image(root / train / f"{ROI}+[0010].png")
    for split, roi in (
        ("val", "TCGA-D8-A1JG-DX1_xmin10_ymin20_MPP-0.2500+3"),
        ("test", "TCGA-GM-A2DD-DX1_xmin47260_ymin22408_MPP-0.2500+247"),
    ):
        image(root / split / "img" / f"{roi}.png")
        mask(root / split / "mask" / f"{roi}.png", [0, 1, 4])
    return root


def wsss4luad(root: Path) -> Path:
    image(root / "1.training" / "1003370-11223-11698-[1, 1, 0].png", (5, 7))
    image(root / "1.training" / "436219-35356-55497-[0, 0, 1].png", (9, 4))
    for folder in ("2.validation", "3.testing"):
        image(root / folder / "img" / "00.png")
        mask(root / folder / "mask" / "00.png", [0, 1, 2, 3])
        mask(root / folder / "background-mask" / "00.png", [0, 1, 0, 0], palette=False)
    return root


def glas(root: Path) -> Path:
    """As distributed: objects numbered in 8-bit BMP."""
    names = ["train_1", "train_2", "train_10", "testA_1", "testB_1"]
    for name in names:
        image(root / f"{name}.bmp")
        mask(root / f"{name}_anno.bmp", [0, 1, 2, 7], palette=False)
    lines = ["name,patient ID, grade (GlaS), grade (Sirinukunwattana et al. 2015)"]
    lines += [f"{name},4, benign, adenomatous" for name in names]
    (root / "Grade.csv").write_text("\n".join(lines))
    return root


def glas_folders(root: Path) -> Path:
    for name in ("train_1", "testA_1"):
        folder = root / name.split("_")[0]
        image(folder / "images" / f"{name}.jpg")
        mask(folder / "masks" / f"{name}.png", [0, 1], palette=False)
    return root


def bcss(root: Path, images: str = "images") -> Path:
    for name, values in ((ROI, list(range(8))), (ROI.replace("A1-A0SK", "OL-A5RW"), [2, 20, 21])):
        image(root / images / f"{name}.png")
        mask(root / "masks" / f"{name}.png", values, palette=False)
    return root


def camel(root: Path) -> Path:
    for split, rows in (("train", {"a.png": 0, "b.png": 1}), ("test", {"a.png": 1})):
        for name in rows:
            image(root / split / name)
        lines = ["image_name,label", *(f"{name},{label}" for name, label in rows.items())]
        (root / f"{split}.csv").write_text("\n".join(lines))
    return root


def class_folders(root: Path) -> Path:
    for label, patient in (("normal", "P1"), ("malignant", "P2"), ("malignant", "P1")):
        image(root / label / patient / f"{patient}_1.jpg")
    return root


def pairs(root: Path, images: str = "images", masks: str = "masks") -> Path:
    for name in ("i1", "i2"):
        image(root / images / f"{name}.jpg")
        mask(root / masks / f"{name}.png", [0, 1, 255], palette=False)
    return root
