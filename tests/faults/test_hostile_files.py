"""More than 200 hostile files through reading, check, training and prediction."""

import csv
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from histoweak.data.check import check_manifest
from histoweak.data.crops import AugmentConfig, CropDataset
from histoweak.data.frames import FrameStore, build_frames
from histoweak.data.images import probe, read_image, read_mask
from histoweak.data.manifest import Manifest, Record
from histoweak.data.skips import Skips
from histoweak.errors import ImageError
from histoweak.inference.predict import predict_images
from histoweak.progress import Progress
from histoweak.stages.classifier import usual_window
from tests import program
from tests.conftest import TINY, write_settings
from tests.data.check.fake import CLASSES
from tests.faults.hostile import write_hostile, write_no_files
from tests.inference.models import segmenter

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL.*")


def can_be_read(path: Path) -> bool:
    try:
        image = read_image(path)
    except ImageError as error:
        assert error.remedy and "\n" not in str(error)
        return False
    assert image.dtype == np.uint8 and image.shape == (*probe(path).size, 3)
    return True


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, bool]:
    """Whether each of the files can be read; all but those that may do as they like are checked."""
    files = write_hostile(tmp_path_factory.mktemp("hostile") / "files")
    assert len(files) >= 200
    found = {path: can_be_read(path) for path in files}
    wrong = [p.name for p, wanted in files.items() if wanted not in (None, found[p])]
    assert wrong == []
    return found


@pytest.fixture(scope="module")
def no_files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_no_files(tmp_path_factory.mktemp("none") / "files")


def bad(hostile: dict[Path, bool]) -> set[Path]:
    return {path for path, readable in hostile.items() if not readable}


def records(paths: list[Path], mask: Path | None = None) -> tuple[Record, ...]:
    return tuple(
        Record(p, (1, 0), mask, patient=f"P{i % 7}", slide="S", split="train", row=i + 2)
        for i, p in enumerate(paths)
    )


def test_what_is_no_file_is_refused_and_never_waited_for(no_files: list[Path]) -> None:
    assert [path.name for path in no_files if can_be_read(path)] == []


def test_masks(hostile: dict[Path, bool]) -> None:
    for path in hostile:
        try:
            mask = read_mask(path, 256)
        except ImageError as error:
            assert error.remedy
        else:
            assert mask.ndim == 2 and mask.dtype == np.uint8


def test_the_check_names_every_bad_file(
    hostile: dict[Path, bool], no_files: list[Path], tmp_path: Path
) -> None:
    paths = [*hostile, *no_files]
    rows = [replace(r, mask=paths[-i - 1]) for i, r in enumerate(records(paths))]
    result = check_manifest(Manifest(CLASSES, tuple(rows), tmp_path / "manifest.csv"))
    (unreadable,) = (f for f in result.findings if f.code == "unreadable")
    assert {paths[i.images[0]] for i in unreadable.items} == bad(hostile) | set(no_files)
    assert all(item.note for item in unreadable.items)
    (train,) = result.splits
    assert train.usable == len(hostile) - len(bad(hostile))
    json.dumps(result.to_dict())


# Not ru_maxrss: a new process begins with that of the process it was started from.
MEASURED = """
import re, sys
from pathlib import Path
from histoweak.cli import app
code = app(sys.argv[1:], standalone_mode=False)
peak = re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1]
print(f"{code} {peak}", file=sys.stderr)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells the peak")
def test_the_command_writes_its_page_in_bounded_memory(
    hostile: dict[Path, bool], tmp_path: Path
) -> None:
    table = tmp_path / "manifest.csv"
    Manifest(CLASSES, records(list(hostile), mask=next(iter(hostile)))).write(table)
    words = ["data", "check", str(table), "--workers", "1", "--limit-pictures", "300"]
    ended = subprocess.run(
        [sys.executable, "-c", MEASURED, *words], capture_output=True, text=True, timeout=300
    )
    code, peak = ended.stderr.splitlines()[-1].split()
    assert int(code) == 4, ended.stderr
    assert int(peak) < 300_000  # KiB; several files announce or unpack to more
    told = json.loads((tmp_path / "check" / "check.json").read_text())
    counts = {f["code"]: f["count"] for f in told["findings"]}
    # One name is no Unicode: a CSV file cannot hold it, so that file counts as missing.
    assert counts["unreadable"] == len(bad(hostile)) + 1
    page = (tmp_path / "check" / "check.html").read_text()
    assert "<script" not in page and "\u202e" not in page


def test_frames_hold_the_good_and_name_the_bad(
    hostile: dict[Path, bool], no_files: list[Path], tmp_path: Path
) -> None:
    paths = [*hostile, *no_files]
    store, skips = frames_of(paths, tmp_path / "frames")
    assert [path for path, _ in skips.reasons] == [p for p in paths if not hostile.get(p)]
    assert all(reason for _, reason in skips.reasons)
    skips.write(tmp_path / "skipped.csv")
    assert len(list(csv.DictReader((tmp_path / "skipped.csv").open()))) == len(skips)
    kept = [path for path, readable in hostile.items() if readable]
    assert [Path(frame.windows[0]) for frame in store.frames] == kept
    for i in range(0, len(kept), 7):
        np.testing.assert_array_equal(store.image(i), read_image(kept[i]))
    crops = CropDataset(store, size=32, augment=AugmentConfig(), seed=0, n_classes=2)
    for step in range(60):
        assert crops[step, 0].image.shape == (3, 32, 32)


def test_training_goes_on_without_the_bad(
    hostile: dict[Path, bool], data: Path, tmp_path: Path
) -> None:
    manifest = Manifest.read(data)
    # All that are bad, and every third of the others: each costs a pass of the classifier.
    printable = [path for path in hostile if str(path).isprintable()]
    paths = [path for i, path in enumerate(printable) if not hostile[path] or i % 3 == 0]
    assert len(paths) >= 190
    rows = [replace(r, labels=(1, 0, 0, 0), mpp=1.0) for r in records(paths)]
    table = data.with_name("hostile.csv")
    Manifest(manifest.classes, (*manifest.records, *rows)).write(table)
    settings = {**TINY["vgg-cam"], "frames": {"max_skipped": 1.0}}
    config = write_settings(tmp_path / "tiny.yaml", settings)
    out = tmp_path / "run"
    ended = program.run("run", "vgg-cam", "--data", table, "--out", out, "--config", config)
    assert ended.code == 0, ended
    (skipped,) = (out / "stages").glob("frames-*/skipped.csv")
    named = {row["image"] for row in csv.DictReader(skipped.open())}
    assert {Path(name).name for name in named} == {p.name for p in bad(hostile) if p in paths}


def test_prediction_labels_the_good_and_names_the_bad(
    hostile: dict[Path, bool], no_files: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    folder = next(iter(hostile)).parent
    missing = [path for path in no_files if path.name in ("missing.png", "gone.png")]
    result = predict_images(segmenter(), [folder, *missing], out)
    wanted = {path.resolve() for path in [*bad(hostile), *missing]}
    assert {path for path, _ in result.skipped} == wanted
    assert result.done == len(hostile) - len(bad(hostile))
    assert len(list((out / "masks").glob("*.png"))) == result.done
    skipped = list(csv.DictReader((out / "skipped.csv").open(newline="")))
    assert len(skipped) == len(wanted) and all(row["reason"] for row in skipped)
    for path, readable in hostile.items():
        if readable and path.name.startswith("sizes"):
            mask = out / "masks" / f"{path.stem}.png"
            if mask.exists():
                assert Image.open(mask).size[::-1] == probe(path).size
    # Nothing is done twice, whatever the names.
    again = predict_images(segmenter(), [folder], out)
    assert (again.done, again.resumed) == (0, result.done)


def frames_of(
    paths: list[Path], out: Path, mpp: float | None = None, own: float | None = None
) -> tuple[FrameStore, Skips]:
    skips = Skips(len(paths), limit=1.0)
    out.mkdir()
    rows = [replace(r, mpp=own) for r in records(paths)]
    store = build_frames(
        rows, 2, out, mpp=mpp, assemble=False, with_masks=False, skips=skips,
        progress=Progress(quiet=True),
    )  # fmt: skip
    return store, skips


def test_a_patch_that_would_fill_the_memory_is_skipped(tmp_path: Path) -> None:
    sizes = {"long": (1, 14_001), "within": (1, 700), "usual": (20, 30)}
    paths = [tmp_path / f"{name}.png" for name in sizes]
    for path, size in zip(paths, sizes.values(), strict=True):
        Image.new("RGB", size[::-1]).save(path)
    _, skips = frames_of(paths, tmp_path / "a")
    assert skips.reasons == [(paths[0], "a side of 14001 pixels (expected at most 14000)")]
    # A scale in wrong units makes large images of small ones.
    _, skips = frames_of(paths[1:], tmp_path / "b", mpp=0.5, own=40.0)
    reason = "a side of 56000 pixels at 0.5 microns per pixel (expected at most 14000)"
    assert skips.reasons == [(paths[1], reason)]


def test_one_odd_image_does_not_make_every_crop_large(tmp_path: Path) -> None:
    paths = [tmp_path / f"{i}.png" for i in range(30)]
    for path in paths:
        Image.new("RGB", (60, 50)).save(path)
    Image.new("RGB", (3000, 2)).save(paths[7])
    store, skips = frames_of(paths, tmp_path / "frames")
    assert not skips and usual_window(store, 32) == 64
