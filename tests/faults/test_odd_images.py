"""Images of every usual kind train; single damaged ones are skipped, listed and said."""

import csv
import json
from pathlib import Path

import numpy as np
from PIL import Image

from histoweak.data.manifest import Manifest
from tests import program
from tests.conftest import TINY, write_settings


def to_16_bits(image: Image.Image) -> Image.Image:
    grey = np.asarray(image.convert("L")).astype(np.uint16) * 257
    return Image.fromarray(grey)


CONVERSIONS = {
    0: (to_16_bits, "16.png"),
    1: (lambda image: image.convert("CMYK"), "cmyk.tif"),
    2: (lambda image: image.quantize(256), "palette.png"),
    3: (lambda image: image.convert("RGBA"), "alpha.png"),
}


def test_odd_images_train_and_damaged_ones_are_counted(data: Path, tmp_path: Path) -> None:
    lines = data.read_text().splitlines()
    train = [i for i, line in enumerate(lines) if ",train," in line]
    for place, (convert, name) in CONVERSIONS.items():
        old = lines[train[place]].split(",")[0]
        convert(Image.open(data.parent / old)).save(data.parent / name)
        lines[train[place]] = lines[train[place]].replace(old, name, 1)
    data.write_text("\n".join(lines))
    images = [record.image for record in Manifest.read(data).split("train")]
    whole = images[8].read_bytes()
    for image in images[8:10]:
        image.write_bytes(image.read_bytes()[:500])

    run = tmp_path / "run"
    settings = write_settings(tmp_path / "tiny.yaml", TINY["vgg-cam"])
    words = ("run", "vgg-cam", "--data", data, "--out", run, "--config", settings)
    assert program.run(*words).code == 5
    # One of 16 may fail; and nothing of the data as they were keeps the folder from going on.
    images[8].write_bytes(whole)
    ended = program.run(*words)
    assert ended.code == 0, ended
    assert "1 of 16 images skipped, see skipped.csv" in ended.stderr
    (frames,) = (run / "stages").glob("frames-*")
    skipped = list(csv.DictReader((frames / "skipped.csv").open()))
    assert [row["image"] for row in skipped] == [str(images[9])]
    assert skipped[0]["reason"].startswith("cannot be decoded (")
    assert_pixels_are_those_of_the_images(frames, images)


def assert_pixels_are_those_of_the_images(frames: Path, images: list[Path]) -> None:
    listed = {f["windows"][0]: f for f in json.loads((frames / "frames.json").read_text())}
    pixels = np.fromfile(frames / "images.u8", np.uint8).reshape(-1, 64, 64, 3)
    assert len(listed) == len(pixels) == 15
    for image in images[:9]:
        stored = pixels[listed[str(image)]["offset"] // 64**2].astype(int)
        if image.name == "16.png":
            expected = np.repeat(np.asarray(Image.open(image))[:, :, None] // 257, 3, axis=2)
        else:
            expected = np.asarray(Image.open(image).convert("RGB"))
        np.testing.assert_array_equal(stored, expected, err_msg=image.name)
