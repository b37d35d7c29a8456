"""CAMEL, class folders, pairs of folders, tables."""

import re
from pathlib import Path

import pytest

from histoweak.data.layouts.importing import Imported, import_data
from histoweak.data.layouts.layout import Options
from histoweak.data.layouts.registry import LAYOUTS
from histoweak.data.manifest import Manifest
from histoweak.errors import ConfigError, ImageError, ManifestError

from . import trees


def load(name: str, root: Path, patient: str = "", options: Options | None = None) -> Imported:
    out = root.parent / "out" / "manifest.csv"
    pattern = re.compile(patient) if patient else None
    return import_data(LAYOUTS[name], root, out, options or Options(), patient=pattern)


def test_camel(tmp_path: Path) -> None:
    found = load("camel", trees.camel(tmp_path / "camel"), options=Options(mpp=0.5)).manifest
    assert found.classes.names == ("normal", "adenoma")
    rows = [(r.image.relative_to(tmp_path / "camel").as_posix(), r.labels) for r in found.records]
    assert rows == [("test/a.png", (1, 1)), ("train/a.png", (1, 0)), ("train/b.png", (1, 1))]
    assert [r.split for r in found.records] == ["test", "train", "train"]
    assert found.records[0].mpp == 0.5


def test_camel_table_alone_and_names_without_suffix(tmp_path: Path) -> None:
    trees.image(tmp_path / "c" / "a.png")
    table = tmp_path / "c" / "labels.csv"
    table.write_text("image_name,label\na,1\n")
    (record,) = load("camel", table, options=Options(split="train")).manifest.records
    assert (record.image.name, record.split) == ("a.png", "train")


@pytest.mark.parametrize(("row", "told"), [("a.png,2", "label is '2'"), ("z.png,1", "0 images")])
def test_camel_refuses(tmp_path: Path, row: str, told: str) -> None:
    trees.image(tmp_path / "c" / "a.png")
    (tmp_path / "c" / "train.csv").write_text(f"image_name,label\n{row}\n")
    with pytest.raises(ManifestError, match=told) as error:
        load("camel", tmp_path / "c")
    assert "row 2" in str(error.value)


def test_class_folders(tmp_path: Path) -> None:
    root = trees.class_folders(tmp_path / "c")
    options = Options(classes=("normal", "malignant"), split="train")
    imported = load("class-folders", root, "/(P[0-9]+)/", options)
    found = imported.manifest
    assert imported.notes == ()  # patients are named: nothing to say about them
    assert [(r.labels, r.patient) for r in found.records] == [
        ((1, 0), "P1"), ((0, 1), "P1"), ((0, 1), "P2"),
    ]  # fmt: skip
    assert found.classes.names == ("normal", "malignant")


def test_class_folders_below_splits(tmp_path: Path) -> None:
    trees.class_folders(tmp_path / "c" / "training")
    trees.class_folders(tmp_path / "c" / "test")
    imported = load("class-folders", tmp_path / "c")
    assert imported.manifest.classes.names == ("malignant", "normal")
    assert [r.split for r in imported.manifest.records] == ["train"] * 3 + ["test"] * 3
    assert any("its own patient" in note for note in imported.notes)


def test_class_folders_refuse_other_classes(tmp_path: Path) -> None:
    root = trees.class_folders(tmp_path / "c")
    with pytest.raises(ManifestError, match="'malignant' is no class"):
        load("class-folders", root, options=Options(classes=("normal", "benign")))


def test_pattern_that_finds_nothing(tmp_path: Path) -> None:
    root = trees.class_folders(tmp_path / "c")
    with pytest.raises(ManifestError, match="finds no patient in 'malignant/P1/P1_1"):
        load("class-folders", root, "(Q[0-9]+)")


def test_image_mask(tmp_path: Path) -> None:
    root = trees.pairs(tmp_path / "p", "img", "mask")
    found = load("image-mask", root, options=Options(("other", "gland"), split="test")).manifest
    assert [r.labels for r in found.records] == [(1, 1), (1, 1)]
    assert found.records[0].mask == root / "mask" / "i1.png"  # fits as it is
    assert not (tmp_path / "out" / "masks").exists()


def test_image_mask_with_values(tmp_path: Path) -> None:
    root = trees.pairs(tmp_path / "p")
    options = Options(("other", "gland"), values=(0, 255), ignore=(1,))
    found = load("image-mask", root, options=options).manifest
    assert trees.read(found.records[0].mask) == [0, 255] + [1] * 6


def test_image_mask_below_splits_keeps_equal_names_apart(tmp_path: Path) -> None:
    trees.pairs(tmp_path / "p" / "train")
    trees.pairs(tmp_path / "p" / "test")
    found = load("image-mask", tmp_path / "p", options=Options(("other", "gland"))).manifest
    assert [r.patient for r in found.records] == ["train-i1", "train-i2", "test-i1", "test-i2"]


@pytest.mark.parametrize(
    "options",
    [
        Options(),
        Options(("a", "b"), values=(0,)),
        Options(("a", "b"), values=(0, 0)),
        Options(("a", "b"), values=(0, 1), ignore=(1,)),
    ],
)
def test_image_mask_options(tmp_path: Path, options: Options) -> None:
    with pytest.raises(ConfigError):
        load("image-mask", trees.pairs(tmp_path / "p"), options=options)


def test_unknown_mask_values_stop(tmp_path: Path) -> None:
    root = trees.pairs(tmp_path / "p")
    with pytest.raises(ImageError, match="unknown value"):
        load("image-mask", root, options=Options(("other", "gland"), values=(0, 7)))


def test_table(tmp_path: Path) -> None:
    trees.image(tmp_path / "t" / "a.png")
    trees.image(tmp_path / "t" / "b.png")
    rows = "image,labels,patient,split\na.png,fat;mucus,p,train\nb.png,mucus,q,test\n"
    (tmp_path / "t" / "list.csv").write_text(rows)
    load("csv", tmp_path / "t")
    found = Manifest.read(tmp_path / "out" / "manifest.csv")
    assert [(r.labels, r.patient, r.split) for r in found.records] == [
        ((1, 1), "p", "train"), ((0, 1), "q", "test"),
    ]  # fmt: skip
    assert found.records[0].image.resolve() == (tmp_path / "t" / "a.png").resolve()
