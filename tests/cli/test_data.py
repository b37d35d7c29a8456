import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from typer.testing import CliRunner, Result

from histoweak.cli.data import app
from histoweak.data.manifest import Manifest
from histoweak.errors import ConfigError, ImageError, ManifestError, OutputError


def call(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def images(folder: Path, count: int = 3) -> Path:
    rng = np.random.default_rng(1)
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for i in range(count):
        mask = np.zeros((40, 50), np.uint8)
        mask[:, 10 + 10 * i :] = 1
        Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(
            folder / "images" / f"i{i}.png"
        )
        Image.fromarray(mask).save(folder / "masks" / f"i{i}.png")
    return folder


def tile(folder: Path, out: Path, *more: object) -> Result:
    return call(
        "tile", folder / "images", "--masks", folder / "masks", "--classes", "other,gland",
        "--out", out, "--size", 20, "--stride", 10, "--workers", 2, *more,
    )  # fmt: skip


def test_tile_folder_then_split(tmp_path: Path) -> None:
    images(tmp_path)
    result = tile(tmp_path, tmp_path / "out", "--mpp", 0.5)
    assert result.exit_code == 0, result.exception
    table = tmp_path / "out" / "manifest.csv"
    assert f"wrote {table}" in result.stdout
    assert "train: 36 images of 3 patients; with other " in result.stdout
    result = call("split", table, "--out", tmp_path / "out" / "split.csv", "--test", 0.3)
    assert result.exit_code == 0, result.exception
    found = Manifest.read(tmp_path / "out" / "split.csv")
    assert {r.split for r in found.records} == {"train", "test"}
    assert found.records[0].mpp == 0.5
    result = call("split", table, "--out", tmp_path / "folds", "--folds", 3)
    assert result.stdout.count("wrote") == 3
    result = call("split", table, "--out", tmp_path / "loo", "--leave-one-out")
    assert len(list((tmp_path / "loo").glob("fold_*.csv"))) == 3
    result = call("split", table, "--out", tmp_path / "folds", "--folds", 3)
    assert isinstance(result.exception, OutputError)


def test_tile_manifest_keeping_test_images_whole(tmp_path: Path) -> None:
    images(tmp_path)
    table = tmp_path / "whole.csv"
    table.write_text(
        "image,mask,patient,split\n"
        "images/i0.png,masks/i0.png,a,train\n"
        "images/i1.png,masks/i1.png,b,train\n"
        "images/i2.png,masks/i2.png,c,test\n"
    )
    result = call(
        "tile", table, "--classes", "other,gland", "--out", tmp_path / "out", "--size", 20,
        "--stride", 20, "--no-flush", "--keep-whole", "val,test",
    )  # fmt: skip
    assert result.exit_code == 0, result.exception
    found = Manifest.read(tmp_path / "out" / "manifest.csv")
    assert len(found.split("train")) == 2 * 2 * 2
    assert [r.image.resolve() for r in found.split("test")] == [tmp_path / "images" / "i2.png"]
    assert {r.patient for r in found.split("train")} == {"a", "b"}


def test_classes_from_a_file(tmp_path: Path) -> None:
    images(tmp_path)
    file = tmp_path / "my.json"
    file.write_text('{"names": ["other", "gland"], "colors": [[1, 2, 3], [4, 5, 6]]}')
    tile(tmp_path, tmp_path / "out", "--classes", file)
    found = Manifest.read(tmp_path / "out" / "manifest.csv")
    assert found.classes.colors == ((1, 2, 3), (4, 5, 6))


def test_skips_are_reported(tmp_path: Path) -> None:
    images(tmp_path, 4)
    (tmp_path / "images" / "i1.png").write_bytes(b"")
    result = tile(tmp_path, tmp_path / "out")
    assert "skipped 1 images, listed in" in result.stdout
    (tmp_path / "images" / "i2.png").write_bytes(b"")
    assert isinstance(tile(tmp_path, tmp_path / "out2").exception, ImageError)


def test_masks_of_0_and_255_are_pointed_out(tmp_path: Path) -> None:
    images(tmp_path)
    for path in (tmp_path / "masks").iterdir():
        with Image.open(path) as mask:
            Image.fromarray(np.array(mask) * np.uint8(255)).save(path)
    result = tile(tmp_path, tmp_path / "out")
    assert "no image holds 'gland'; its mask value is 1, 255 means ignored" in result.stdout


def test_wrong_calls(tmp_path: Path) -> None:
    images(tmp_path)
    for words, kind, message in (
        (["tile", tmp_path / "images"], ConfigError, "--masks is missing"),
        (["tile", tmp_path / "no.csv"], ManifestError, "No such file"),
        (["tile", "x", "--keep-whole", "all", "--masks", "y", "--classes", "a"],
         ManifestError, "no folder"),
        (["split", tmp_path / "no.csv"], ManifestError, "No such file"),
        (["split", "x.csv", "--folds", 2, "--leave-one-out"], ConfigError, "Choose one"),
        (["split", "x.csv", "--keep", "tset"], ConfigError, "--keep 'tset'"),
        (["split", "x.csv", "--val", 0.6, "--test", 0.6], ConfigError, "nothing for train"),
        (["glas", tmp_path], ManifestError, "is no GlaS folder"),
    ):  # fmt: skip
        result = call(*words, "--out", tmp_path / "out")
        assert isinstance(result.exception, kind), (words, result.exception)
        assert message in str(result.exception)
    assert call("tile", "x", "--out", "y", "--size", 0).exit_code == 2


def test_phantom(tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = call(
        "phantom", "--out", out, "--patches", 6, "--patch-size", 64, "--patients", 3,
        "--seed", 4, "--workers", 1,
    )  # fmt: skip
    assert result.exit_code == 0, result.exception
    assert len(Manifest.read(out / "manifest.csv").records) == 6


def test_the_folder_of_a_phantom_is_an_argument_or_an_option_but_not_both(tmp_path: Path) -> None:
    small = ("--patches", 4, "--patch-size", 32, "--patients", 4, "--workers", 1)
    assert call("phantom", tmp_path / "a", *small).exit_code == 0
    assert (tmp_path / "a" / "manifest.csv").exists()
    for folders in ((), (tmp_path / "b", "--out", tmp_path / "c")):
        result = call("phantom", *folders, *small)
        assert result.exit_code == 2
        assert "name one folder to write to" in result.output
    assert not (tmp_path / "b").exists()


def test_the_data_layer_needs_no_torch() -> None:
    code = (
        "import sys, histoweak.cli.data; light = set(sys.modules);"
        "import histoweak.data.glas, histoweak.data.split;"
        "assert 'torch' not in sys.modules; assert 'numpy' not in light; assert 'PIL' not in light"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
