"""LUAD-HistoSeg, BCSS-WSSS and WSSS4LUAD."""

from pathlib import Path

import pytest

from histoweak.data.images import read_mask
from histoweak.data.layouts.importing import Imported, import_data
from histoweak.data.layouts.layout import LayoutMismatchError, Options
from histoweak.data.layouts.names import label_in_name, split_of_folder, tcga_patient
from histoweak.data.layouts.registry import LAYOUTS
from histoweak.data.manifest import Manifest
from histoweak.errors import ManifestError

from . import trees


def load(name: str, root: Path, tmp_path: Path, options: Options | None = None) -> Imported:
    out = tmp_path / "out" / "manifest.parquet"
    import_data(LAYOUTS[name], root, out, options or Options())
    return Imported(Manifest.read(out), ())


def test_luad(tmp_path: Path) -> None:
    found = load("luad-histoseg", trees.luad(tmp_path / "luad"), tmp_path).manifest
    assert found.classes.names[1] == "necrosis"
    assert found.classes.names[3] == "tumour-associated stroma"
    assert found.classes.colors[0] == (205, 51, 51)
    train = found.split("train")
    assert [r.labels for r in train] == [(1, 0, 0, 1), (0, 1, 0, 0), (0, 0, 1, 0)]
    assert [r.patient for r in train] == ["1031280", "1031280", "TCGA-55-1594"]
    assert all(r.mask is None and r.mpp is None for r in train)
    (val,), (test,) = found.split("val"), found.split("test")
    assert (val.patient, val.labels) == ("385277", (1, 0, 0, 1))  # label of the mask
    assert trees.read(val.mask) == [0, 3] + [255] * 6  # 4 is white
    assert test.labels == (0, 1, 1, 0)
    assert test.mask == tmp_path / "out" / "masks" / "test" / "mask" / "387709-10004-55944.png"


def test_bcss_wsss_has_stroma_where_luad_has_necrosis(tmp_path: Path) -> None:
    found = load("bcss-wsss", trees.bcss_wsss(tmp_path / "bcss"), tmp_path).manifest
    assert found.classes.names == ("tumour", "stroma", "lymphocytes", "necrosis")
    assert found.classes.colors[3] == (153, 0, 255)
    by_label = {r.labels: r for r in found.split("train")}
    assert set(by_label) == {(1, 1, 0, 1), (0, 0, 1, 0)}
    record = by_label[(1, 1, 0, 1)]
    assert (record.patient, record.slide) == ("TCGA-A1-A0SK", "TCGA-A1-A0SK-DX1")
    assert record.mpp == 0.25
    assert [r.patient for r in found.split("test")] == ["TCGA-GM-A2DD"]
    assert trees.read(found.split("val")[0].mask) == [0, 1] + [255] * 6


def test_wsss4luad(tmp_path: Path) -> None:
    found = load("wsss4luad", trees.wsss4luad(tmp_path / "w"), tmp_path, Options(mpp=0.5)).manifest
    assert found.classes.names == ("tumour", "stroma", "normal")
    assert [r.labels for r in found.split("train")] == [(1, 1, 0), (0, 0, 1)]
    (val,), (test,) = found.split("val"), found.split("test")
    assert val.patient != test.patient  # both are 00.png
    assert trees.read(val.mask) == [0, 255, 2] + [255] * 5  # stroma under the background mask
    assert val.labels == (1, 0, 1)
    assert {r.mpp for r in found.records} == {0.5}


@pytest.mark.parametrize(
    "names",
    [
        ("training", "validation", "testing"),
        ("train/img", "valid", "test"),
        ("1.training", "2.validation", "3.testing"),
        ("Train/images", "Val", "Test"),
    ],
)
def test_folder_names_that_circulate(tmp_path: Path, names: tuple[str, str, str]) -> None:
    root = trees.luad(tmp_path / "luad" / "LUAD-HistoSeg", *names)
    trees.image(root / "train_PM" / "PM_bn7" / "1031280-2300-27920-[1 0 0 1].png")
    (root / "_Readme.txt").write_text("x")
    found = load("luad-histoseg", root.parent, tmp_path).manifest
    assert [len(found.split(s)) for s in ("train", "val", "test")] == [3, 1, 1]


def test_images_without_mask_or_label_are_left_out_and_told(tmp_path: Path) -> None:
    root = trees.luad(tmp_path / "luad")
    trees.image(root / "test" / "img" / "1-2-3.png")
    out = tmp_path / "out" / "m.csv"
    imported = import_data(LAYOUTS["luad-histoseg"], root, out, Options())
    assert len(imported.manifest.split("test")) == 1
    assert any("1-2-3.png" in note for note in imported.notes)


@pytest.mark.parametrize(
    ("stem", "label"),
    [
        ("a-1-2-[1 0 0 1]", (1, 0, 0, 1)),
        ("a+3[1001]", (1, 0, 0, 1)),
        ("a-[1, 0, 0, 1]", (1, 0, 0, 1)),
        ("[0000]-a[0 1 1 0]", (0, 1, 1, 0)),
        ("a", ()),
    ],
)
def test_label_in_name(stem: str, label: tuple[int, ...]) -> None:
    assert label_in_name(stem, 4) == label


@pytest.mark.parametrize("stem", ["a[1 0 1]", "a[1 0 2 1]", "a[]", "a[__import__('os')]"])
def test_label_in_name_refuses(stem: str) -> None:
    with pytest.raises(LayoutMismatchError):
        label_in_name(stem, 4)


def test_words() -> None:
    assert tcga_patient("TCGA-A1-A0SK-DX1_x") == "TCGA-A1-A0SK"
    assert tcga_patient("1031280-2300") == ""
    assert split_of_folder("2.Validation") == "val"
    assert split_of_folder("train_PM") == ""


def test_the_wrong_layout_is_refused_and_the_right_one_named(tmp_path: Path) -> None:
    trees.bcss_wsss(tmp_path / "b")
    trees.luad(tmp_path / "l")
    trees.wsss4luad(tmp_path / "w")
    for wrong, folder, right in (
        ("luad-histoseg", "b", "bcss-wsss"),
        ("bcss-wsss", "l", "luad-histoseg"),
        ("luad-histoseg", "w", "wsss4luad"),
        ("wsss4luad", "l", "luad-histoseg"),
    ):
        with pytest.raises(ManifestError, match=f"'{right}' would fit"):
            import_data(LAYOUTS[wrong], tmp_path / folder, tmp_path / "o" / "m.csv", Options())
    assert not (tmp_path / "o").exists()


def test_masks_are_read_by_the_rest(tmp_path: Path) -> None:
    found = load("luad-histoseg", trees.luad(tmp_path / "luad"), tmp_path).manifest
    for record in found.records:
        if record.mask is not None:
            assert read_mask(record.mask, 4, trees.SIZE).shape == trees.SIZE
