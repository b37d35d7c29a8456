from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from histoweak.classes import IGNORE_INDEX, ClassSet
from histoweak.data.manifest import Manifest, Record
from tests import program

CLASSES = ClassSet(("dark", "bright"))


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Dark patches and bright ones, and one that has both; masks of training rows are damaged."""
    records = []
    for i, (grey, label) in enumerate([(40, (1, 0)), (160, (0, 1)), (100, (1, 1))] * 2):
        image, mask = tmp_path / f"{i}.png", tmp_path / f"{i}-mask.png"
        Image.new("RGB", (32, 32), (grey,) * 3).save(image)
        mask.write_bytes(b"")
        patient = f"p{i}"
        records.append(Record(image, label, mask, patient, patient, "train", 1.0))
    Manifest(CLASSES, tuple(records)).write(tmp_path / "table.csv")
    return tmp_path / "table.csv"


def test_files_are_a_data_set_whose_labels_follow_from_the_masks(table, tmp_path) -> None:
    out = tmp_path / "out"
    hard = [("--set", f"{kind}.{key}=0") for kind in ("mosaic", "bezier")
            for key in ("feather", "harmonise")]  # fmt: skip
    words = [word for pair in hard for word in pair]
    ended = program.run("synth", table, "--out", out, "--number", 7, "--size", 48, *words)
    assert ended.code == 0, ended
    assert "7 images" in ended.stdout and "bright: " in ended.stdout
    manifest = Manifest.read(out / "manifest.csv")
    assert manifest.classes == CLASSES and len(manifest.records) == 7
    kinds = [record.image.stem.split("_")[0] for record in manifest.records]
    assert kinds == ["mosaic"] * 4 + ["bezier"] * 3
    for record in manifest.records:
        assert record.mask is not None and record.split == "train"
        image, mask = np.asarray(Image.open(record.image)), np.asarray(Image.open(record.mask))
        assert image.shape == (48, 48, 3) and mask.shape == (48, 48)
        assert set(np.unique(mask)) <= {0, 1, IGNORE_INDEX}
        assert record.labels == tuple(int((mask == k).any()) for k in range(2))
        assert ((image[..., 0] > 100) == (mask == 1)).mean() > 0.97
    assert Image.open(out / "contact-sheet.png").size == (7 * 48, 2 * 48)


def test_white_that_is_a_class_has_its_index_and_mixed_patches_are_not_decoded(
    table, tmp_path
) -> None:
    manifest = Manifest.read(table)
    for record in manifest.records:
        if sum(record.labels) > 1:
            record.image.write_bytes(b"no image")
        elif record.labels == (0, 1):
            Image.new("RGB", (32, 32), (250,) * 3).save(record.image)
    (tmp_path / "classes.json").unlink()
    Manifest(ClassSet(("dark", "glass"), white="glass"), manifest.records).write(table)
    words = ("--number", 6, "--set", "white.gray=220", "--set", "white.min_pixels=1")
    plain = ("--set", "mosaic.feather=0", "--set", "bezier.feather=0")
    ended = program.run("synth", table, "--out", tmp_path / "out", *words, *plain)
    assert ended.code == 0, ended
    masks = [np.asarray(Image.open(p)) for p in sorted((tmp_path / "out/masks").glob("*.png"))]
    assert len(masks) == 6 and {k for mask in masks for k in np.unique(mask)} == {0, 1}
    assert 0.3 < np.mean([mask == 1 for mask in masks]) < 0.7


def test_the_same_seed_gives_the_same_files(table, tmp_path) -> None:
    digests = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        words = ("synth", table, "--out", tmp_path / name, "--number", 2, "--kind", "mosaic")
        assert program.run(*words, "--seed", seed).code == 0
        digests.append([p.read_bytes() for p in sorted((tmp_path / name).rglob("*.png"))])
    assert digests[0] == digests[1] != digests[2]


def test_what_cannot_be_made_is_said(table, tmp_path) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "manifest.csv").write_text("image\n")
    ended = program.run("synth", table, "--out", full)
    assert ended.code == 6 and "exists" in ended.error
    ended = program.run("synth", table, "--out", tmp_path / "a", "--set", "mosaic.cel=3")
    assert ended.code == 3 and "cell" in ended.error
    manifest = Manifest.read(table)
    lone = Manifest(CLASSES, tuple(r for r in manifest.records if r.labels != (0, 1)))
    lone.write(tmp_path / "lone.csv")
    ended = program.run("synth", tmp_path / "lone.csv", "--out", tmp_path / "b")
    assert ended.code == 4 and "'bright' alone" in ended.error
    mixed = Manifest(CLASSES, tuple(r for r in manifest.records if r.labels == (1, 1)))
    mixed.write(tmp_path / "mixed.csv")
    ended = program.run("synth", tmp_path / "mixed.csv", "--out", tmp_path / "c")
    assert ended.code == 4 and "one class alone" in ended.error
