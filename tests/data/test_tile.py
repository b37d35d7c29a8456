import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from histoweak.classes import ClassSet
from histoweak.data.annotated import pair_folders
from histoweak.data.glas import prepare_glas
from histoweak.data.images import read_image, read_mask
from histoweak.data.manifest import Manifest, Record
from histoweak.data.tile import TileConfig, present, starts, tile_images
from histoweak.errors import ImageError, ManifestError, OutputError

CLASSES = ClassSet(("other", "gland"))
SMALL = TileConfig(size=20, stride=10, mpp=0.5)
DATA = Path(os.environ.get("HISTOWEAK_TEST_DATA") or Path(__file__).parents[3] / "shared" / "data")


def annotated(folder: Path, count: int = 3, size: tuple[int, int] = (47, 60)) -> list[Record]:
    """Images of noise with a disc of class 1 and a corner of ignored pixels."""
    rng = np.random.default_rng(5)
    y, x = np.mgrid[: size[0], : size[1]]
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for i in range(count):
        image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
        mask = ((y - 20) ** 2 + (x - 15 * i) ** 2 < 200).astype(np.uint8)
        mask[:5, :7] = 255
        Image.fromarray(image).save(folder / "images" / f"im{i}.png")
        Image.fromarray(mask).save(folder / "masks" / f"im{i}.png")
    return list(pair_folders(folder / "images", folder / "masks"))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@given(
    length=st.integers(1, 200),
    size=st.integers(1, 60),
    stride=st.integers(1, 60),
    flush=st.booleans(),
)
def test_starts(length: int, size: int, stride: int, flush: bool) -> None:
    found = starts(length, TileConfig(size=size, stride=stride, flush=flush))
    inside = [i for i in range(length) if i % stride == 0 and i + size <= length]
    if flush and size <= length:
        inside = sorted({*inside, length - size})
    assert found == inside


def test_presence_is_exact_at_the_edge() -> None:
    mask = np.zeros((10, 10), np.uint8)
    mask.flat[:29] = 1
    assert present(mask, 2, 0.29) == (1, 0)  # 0.29 * 100 < 29 in floating point
    assert present(mask, 2, 0.28) == (1, 1)
    mask.flat[29:] = 255
    assert present(mask, 2, 0.05) == (0, 1)
    assert present(mask, 2, 0.0) == (0, 1)


def test_patches_are_the_windows_of_their_image(tmp_path: Path) -> None:
    records = annotated(tmp_path)
    manifest, skips = tile_images(records, tmp_path / "out", CLASSES, SMALL)
    assert len(skips) == 0
    # Rows 0, 10, 20 and flush 27; columns 0 to 40 step 10.
    assert len(manifest.records) == 3 * 4 * 5
    again = Manifest.read(tmp_path / "out" / "manifest.csv")
    assert [r.labels for r in again.records] == [r.labels for r in manifest.records]
    by_name = {r.image.stem: r for r in records}
    for patch in again.records:
        whole = by_name[patch.source]
        assert whole.mask is not None
        assert patch.mask is not None
        window = slice(patch.y, patch.y + 20), slice(patch.x, patch.x + 20)
        np.testing.assert_array_equal(read_image(patch.image), read_image(whole.image)[window])
        mask = read_mask(whole.mask, 2)[window]
        np.testing.assert_array_equal(read_mask(patch.mask, 2), mask)
        covered = [sum(int(v) == k for v in mask.flat) for k in (0, 1)]
        assert patch.labels == tuple(int(c > 20) for c in covered)  # 5 % of 400 is 20
        assert (patch.patient, patch.slide, patch.split) == (patch.source, patch.source, "train")
        assert patch.mpp == 0.5


def test_any_number_of_workers_writes_the_same(tmp_path: Path) -> None:
    records = annotated(tmp_path, count=6)
    for workers in (1, 4):
        tile_images(records, tmp_path / f"out{workers}", CLASSES, SMALL, workers=workers)
    one, four = contents(tmp_path / "out1"), contents(tmp_path / "out4")
    assert one == four
    assert not [name for name in one if name.endswith(".tmp")]


def test_a_killed_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = annotated(tmp_path)
    tile_images(records, tmp_path / "whole", CLASSES, SMALL)
    out = tmp_path / "out"
    with monkeypatch.context() as patched:
        patched.setattr(Image.Image, "save", killed_after(70))
        with pytest.raises(KeyboardInterrupt):
            tile_images(records, out, CLASSES, SMALL)
    assert not (out / "manifest.csv").exists()
    finished = {p.name: p.stat().st_mtime_ns for p in (out / "tiles").iterdir()}
    assert list(finished) == ["im0.json"]
    first = out / "images" / "im0_y0_x0.png"
    stamp = first.stat().st_mtime_ns
    tile_images(records, out, CLASSES, SMALL)
    assert first.stat().st_mtime_ns == stamp
    assert contents(out) == contents(tmp_path / "whole")


def test_a_full_disk_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = annotated(tmp_path)
    out = tmp_path / "out"
    with monkeypatch.context() as patched:
        patched.setattr(Image.Image, "save", killed_after(50, OSError(28, "No space left")))
        with pytest.raises(OutputError, match=r"\.png: cannot .*No space left"):
            tile_images(records, out, CLASSES, SMALL, workers=2)
    assert not [name for name in contents(out) if ".tmp" in name]
    tile_images(records, out, CLASSES, SMALL)
    tile_images(records, tmp_path / "whole", CLASSES, SMALL)
    assert contents(out) == contents(tmp_path / "whole")


def killed_after(  # type: ignore[no-untyped-def]
    count: int, error: BaseException = KeyboardInterrupt()
):
    original = Image.Image.save

    def save(self: Image.Image, *args: object, **options: object) -> None:
        nonlocal count
        count -= 1
        if count < 0:
            raise error
        original(self, *args, **options)  # type: ignore[arg-type]

    return save


def test_changed_or_lost_files_are_cut_again(tmp_path: Path) -> None:
    records = annotated(tmp_path)
    out = tmp_path / "out"
    tile_images(records, out, CLASSES, SMALL)
    before = contents(out)
    (out / "images" / "im0_y0_x0.png").unlink()
    tile_images(records, out, CLASSES, SMALL)
    assert contents(out) == before
    Image.fromarray(np.ones((47, 60), np.uint8)).save(tmp_path / "masks" / "im1.png")
    manifest, _ = tile_images(records, out, CLASSES, SMALL)
    assert {r.labels for r in manifest.records if r.source == "im1"} == {(0, 1)}


def test_keep_whole(tmp_path: Path) -> None:
    train = annotated(tmp_path / "train", 2)
    test = [
        Record(r.image, (), r.mask, r.patient, r.slide, "test")
        for r in annotated(tmp_path / "test", 2)
    ]
    out = tmp_path / "out"
    manifest, _ = tile_images(train + test, out, CLASSES, SMALL, keep_whole=["test"])
    assert len(manifest.split("train")) == 2 * 20
    whole = manifest.split("test")
    assert [(r.image, r.source, r.labels, r.mpp) for r in whole] == [
        (r.image, "", (1, 1), 0.5) for r in test
    ]


def test_patches_without_any_class(tmp_path: Path) -> None:
    records = annotated(tmp_path, 1)
    mask = np.full((47, 60), 255, np.uint8)
    mask[:20, :20] = 1
    assert records[0].mask is not None
    Image.fromarray(mask).save(records[0].mask)
    few, _ = tile_images(records, tmp_path / "few", CLASSES, SMALL)
    assert [(r.y, r.x) for r in few.records] == [(0, 0), (0, 10), (10, 0), (10, 10)]
    keep = SMALL.model_copy(update={"keep_empty": True})
    every, _ = tile_images(records, tmp_path / "every", CLASSES, keep)
    assert len(every.records) == 20
    assert sum(r.labels == (0, 0) for r in every.records) == 16


def test_damaged_images_are_skipped_and_counted(tmp_path: Path) -> None:
    records = annotated(tmp_path, 40)
    records[3].image.write_bytes(b"")
    Image.fromarray(np.zeros((10, 60), np.uint8)).save(tmp_path / "masks" / "im1.png")
    out = tmp_path / "out"
    manifest, skips = tile_images(records, out, CLASSES, SMALL, workers=3)
    assert len(manifest.records) == 38 * 20
    assert [path for path, _ in skips.reasons] == [tmp_path / "images/im1.png", records[3].image]
    log = (out / "skipped.csv").read_text()
    assert "has zero bytes" in log
    assert "mask is 10x60" in log
    records[5].image.write_bytes(b"no image")
    with pytest.raises(ImageError, match=r"3 of 40 images cannot be used.*skipped\.csv"):
        tile_images(records, out, CLASSES, SMALL)


def test_small_images_are_skipped(tmp_path: Path) -> None:
    records = annotated(tmp_path / "a", 3) + annotated(tmp_path / "b", 1, size=(19, 60))
    (tmp_path / "b/images/im0.png").rename(tmp_path / "b/images/tiny.png")
    (tmp_path / "b/masks/im0.png").rename(tmp_path / "b/masks/tiny.png")
    records[3:] = pair_folders(tmp_path / "b/images", tmp_path / "b/masks")
    _, skips = tile_images(records, tmp_path / "out", CLASSES, SMALL)
    assert "at least 20x20" in skips.reasons[0][1]


def test_a_folder_of_other_data_is_left_alone(tmp_path: Path) -> None:
    records = annotated(tmp_path)
    out = tmp_path / "out"
    tile_images(records, out, CLASSES, SMALL)
    before = contents(out)
    with pytest.raises(OutputError, match=r"other settings"):
        tile_images(records, out, CLASSES, TileConfig(size=30))
    with pytest.raises(OutputError, match=r"tiles of 1 other images, such as 'im0'"):
        tile_images(records[1:], out, CLASSES, SMALL)
    assert contents(out) == before
    Manifest(CLASSES, ()).write(tmp_path / "other" / "manifest.csv")
    with pytest.raises(OutputError, match=r"another data set"):
        tile_images(records, tmp_path / "other", CLASSES, SMALL)
    assert sorted(contents(tmp_path / "other")) == ["classes.json", "manifest.csv"]
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"cannot be used"):
        tile_images(records, tmp_path / "file", CLASSES, SMALL)


def test_wrong_input(tmp_path: Path) -> None:
    records = annotated(tmp_path)
    with pytest.raises(ManifestError, match=r"2 images are called 'im0'"):
        tile_images([records[0], records[0]], tmp_path / "out", CLASSES, SMALL)
    with pytest.raises(ManifestError, match=r"1 of 1 images have no mask"):
        tile_images([Record(Path("a.png"))], tmp_path / "out", CLASSES, SMALL)
    (tmp_path / "masks" / "im2.png").unlink()
    with pytest.raises(ManifestError, match=r"1 of 3 images have no mask.*im2\.png"):
        pair_folders(tmp_path / "images", tmp_path / "masks")
    (tmp_path / "masks" / "im1.tif").touch()
    with pytest.raises(ManifestError, match=r"have one name"):
        pair_folders(tmp_path / "images", tmp_path / "masks")
    with pytest.raises(ManifestError, match=r"no folder"):
        pair_folders(tmp_path / "nowhere", tmp_path / "masks")
    with pytest.raises(ManifestError, match=r"is no GlaS folder"):
        prepare_glas(tmp_path, tmp_path / "out")


def test_glas_protocol_on_two_images(tmp_path: Path) -> None:
    if not (DATA / "glas").is_dir():
        pytest.skip("GlaS is not here: set HISTOWEAK_TEST_DATA to a folder that holds glas/")
    for part, name in (("train", "train_1"), ("testA", "testA_1")):
        for kind, suffix in (("images", "jpg"), ("masks", "png")):
            folder = tmp_path / part / kind
            folder.mkdir(parents=True)
            (folder / f"{name}.{suffix}").symlink_to(
                DATA / "glas" / part / kind / f"{name}.{suffix}"
            )
    manifest = Manifest.read(prepare_glas(tmp_path, tmp_path / "out", workers=2))
    # 775x522: 12 columns and a flush one, 8 rows and a flush one.
    assert len(manifest.split("train")) == 13 * 9
    assert manifest.split("test")[0].image.resolve().name == "testA_1.jpg"
    assert {r.mpp for r in manifest.records} == {0.62}
