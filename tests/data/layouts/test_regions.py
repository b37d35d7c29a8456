"""GlaS and BCSS: whole fields with masks of every pixel."""

from pathlib import Path

import pytest

from histoweak.data.layouts.bcss import VALUES
from histoweak.data.layouts.importing import import_data
from histoweak.data.layouts.layout import Options
from histoweak.data.layouts.registry import LAYOUTS
from histoweak.data.manifest import Manifest
from histoweak.data.tile import TileConfig, tile_images
from histoweak.errors import ManifestError

from . import trees


def test_glas_as_distributed(tmp_path: Path) -> None:
    root = trees.glas(tmp_path / "Warwick QU Dataset")
    out = tmp_path / "out" / "manifest.csv"
    imported = import_data(LAYOUTS["glas"], tmp_path, out, Options())
    assert imported.notes == ()
    found = Manifest.read(out)
    assert found.classes.names == ("other", "gland")
    assert [r.image.name for r in found.split("train")] == [
        "train_1.bmp", "train_2.bmp", "train_10.bmp",
    ]  # fmt: skip
    assert [r.patient for r in found.split("test")] == ["testA_1", "testB_1"]
    for record in found.records:
        assert trees.read(record.mask) == [0, 1, 1, 1, 1, 1, 1, 1]  # objects 1, 2, 7
        assert record.labels == (1, 1)
        assert record.mpp == 0.62
    assert (root / "train_1_anno.bmp").exists()


def test_glas_in_folders_can_be_tiled(tmp_path: Path) -> None:
    root = trees.glas_folders(tmp_path / "glas")
    out = tmp_path / "out" / "manifest.csv"
    import_data(LAYOUTS["glas"], root, out, Options())
    found = Manifest.read(out)
    assert [r.split for r in found.records] == ["train", "test"]
    config = TileConfig(size=4, stride=2)
    tiles, _ = tile_images(
        found.records, tmp_path / "tiles", found.classes, config, keep_whole=("test",)
    )
    assert len(tiles.split("test")) == 1
    assert len(tiles.split("train")) == 6


def test_glas_tells_what_is_missing(tmp_path: Path) -> None:
    root = trees.glas(tmp_path / "glas")
    (root / "train_2.bmp").unlink()
    (root / "train_10_anno.bmp").unlink()
    notes = import_data(LAYOUTS["glas"], root, tmp_path / "o" / "m.csv", Options()).notes
    assert "1 images have no annotation, as train_10: left out" in notes
    assert any("Grade.csv are not there, as train_2" in note for note in notes)


def test_glas_twice_in_one_folder(tmp_path: Path) -> None:
    trees.glas(tmp_path / "a")
    trees.glas(tmp_path / "b")
    with pytest.raises(ManifestError, match="stands twice"):
        import_data(LAYOUTS["glas"], tmp_path, tmp_path / "o" / "m.csv", Options())


@pytest.mark.parametrize("folder", ["images", "rgbs_colorNormalized"])
def test_bcss(tmp_path: Path, folder: str) -> None:
    root = trees.bcss(tmp_path / "bcss", folder)
    out = tmp_path / "out" / "manifest.parquet"
    import_data(LAYOUTS["bcss"], root, out, Options())
    found = Manifest.read(out)
    assert found.classes.names[1] == "stroma"
    train, test = found.records
    assert (train.split, train.patient, train.mpp) == ("train", "TCGA-A1-A0SK", 0.25)
    assert (test.split, test.slide) == ("test", "TCGA-OL-A5RW-DX1")
    # codes 0 to 7: outside, tumour, stroma, lymphocytes, necrosis, secretions, blood, exclude
    assert trees.read(train.mask) == [255, 0, 1, 2, 3, 4, 4, 255]
    assert trees.read(test.mask) == [1, 0, 4, 4, 4, 4, 4, 4]  # stroma, dcis, other
    assert test.labels == (1, 1, 0, 0, 1)


def test_bcss_knows_every_code() -> None:
    assert sorted(VALUES) == list(range(22))
    assert sorted(set(VALUES.values())) == [0, 1, 2, 3, 4, 255]


def test_bcss_refuses_other_names(tmp_path: Path) -> None:
    root = trees.pairs(tmp_path / "p")
    with pytest.raises(ManifestError, match="'image-mask' would fit"):
        import_data(LAYOUTS["bcss"], root, tmp_path / "o" / "m.csv", Options())
