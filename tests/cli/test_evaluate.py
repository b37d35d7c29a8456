import json

import numpy as np
import pytest
import typer
from PIL import Image

from histoweak.classes import ClassSet
from histoweak.cli.evaluate import evaluate
from histoweak.data.manifest import Manifest, Record
from histoweak.errors import ConfigError, ManifestError
from histoweak.export.png import write_index_png
from histoweak.inference.predict import predict_images
from histoweak.metrics.confusion import ConfusionMatrix
from histoweak.metrics.scores import fwiou, iou, miou_present
from tests.cli.test_predict import call as call_app
from tests.inference.models import CLASSES, segmenter, write_picture

app = typer.Typer()
app.command()(evaluate)


def call(*arguments):
    return call_app(*arguments, app=app)


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    segmenter(mpp=0.5).save(tmp_path / "run" / "model")
    random = np.random.default_rng(0)
    records = []
    for index, split in enumerate(("train", "val", "test", "test")):
        image, mask = tmp_path / "scans" / f"{index}.png", tmp_path / f"truth-{index}.png"
        write_picture(image, seed=index)
        write_index_png(mask, random.choice([0, 1, 255], (40, 50)).astype(np.uint8), CLASSES)
        records.append(
            Record(image, (1, 1, 0), mask, patient=f"p{index}", slide="s", split=split, mpp=0.25)
        )
    Manifest(CLASSES, tuple(records)).write(tmp_path / "data.csv")
    return tmp_path


def expected(place, present=None):
    matrix = ConfusionMatrix(3)
    for index in (2, 3):
        image = np.asarray(Image.open(place / "scans" / f"{index}.png"))
        truth = np.asarray(Image.open(place / f"truth-{index}.png"))
        matrix.update(segmenter(mpp=0.5).predict(image, 0.25, present).array, truth)
    return matrix


def test_the_table_says_the_figures_and_how_they_came_about(place):
    result = call(
        place / "run", "--data", place / "data.csv", "--json", place / "f.json", "--device", "cpu"
    )
    title = " ".join(result.stdout.split())
    for said in (
        "gate none", "test-time augmentation none", "checkpoint last", "split test", "seed 7",
        "2 images",
    ):  # fmt: skip
        assert said in title
    matrix = expected(place)
    for value in (*iou(matrix), miou_present(matrix), fwiou(matrix)):
        assert ("-" if np.isnan(value) else f"{value:.4f}") in result.stdout
    figures = json.loads((place / "f.json").read_text())
    assert figures["ladder"][0]["confusion"]["matrix"] == matrix.matrix.tolist()
    assert sorted(figures["ladder"][0]["patients"]) == ["p2", "p3"]


def test_a_gate_by_true_labels_shows_in_the_title(place):
    options = ["--gate", "truth", "--json", place / "f.json", "--tta", "flips"]
    result = call(place / "run", "--data", place / "data.csv", *options)
    assert "gate truth" in result.stdout and "flips" in result.stdout
    figures = json.loads((place / "f.json").read_text())
    assert figures["ladder"][0]["classes"]["necrosis"]["predicted_pixels"] == 0


def test_masks_in_a_folder_are_scored_by_name(place):
    images = [place / "scans" / "2.png", place / "scans" / "3.png"]
    predict_images(segmenter(mpp=0.5), images, place / "out", mpp=0.25)
    options = ["--data", place / "data.csv", "--json", place / "f.json"]
    result = call("--pred", place / "out", *options)
    assert "seed 7" in " ".join(result.stdout.split())
    figures = json.loads((place / "f.json").read_text())
    assert figures["ladder"][0]["confusion"]["matrix"] == expected(place).matrix.tolist()
    result = call("--pred", place / "out" / "masks", *options)
    assert "gate unknown" in result.stdout


def test_skipped_images_are_counted_in_the_title(place):
    (place / "scans" / "3.png").write_bytes(b"")
    result = call(place / "run", "--data", place / "data.csv")
    assert "1 images (1 skipped)" in result.stdout and "zero bytes" in result.stderr


def test_other_classes_than_those_of_the_model_are_refused(place):
    (place / "other").mkdir()
    manifest = Manifest.read(place / "data.csv")
    other = Manifest(ClassSet(("stroma", "tumour", "necrosis")), manifest.records)
    other.write(place / "other" / "data.csv")
    with pytest.raises(ManifestError, match="in this order"):
        call(place / "run", "--data", place / "other" / "data.csv")


def test_either_a_model_or_masks(place):
    with pytest.raises(ConfigError, match="nothing to score"):
        call("--data", place / "data.csv")
    with pytest.raises(ConfigError, match="two things"):
        call(place / "run", "--pred", place, "--data", place / "data.csv")
    with pytest.raises(ConfigError, match="--split"):
        call(place / "run", "--data", place / "data.csv", "--split", "tset")
