import csv

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from histoweak.cli.export import app as export_app
from histoweak.cli.predict import predict
from histoweak.errors import ConfigError, OutputError, WeightsError
from tests.inference.models import classifier, segmenter, write_picture

app = typer.Typer()
app.command()(predict)


def call(*arguments, app=app):
    """Run the command; errors come out as they reach the program's main function."""
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def place(tmp_path):
    segmenter(mpp=0.5).save(tmp_path / "run" / "model")
    write_picture(tmp_path / "scans" / "a.png")
    write_picture(tmp_path / "scans" / "b.png", seed=1)
    return tmp_path


def test_images_become_masks_overlays_and_areas(place):
    out = place / "out"
    arguments = [place / "run", place / "scans", "--out", out, "--mpp", 0.25, "--device", "cpu"]
    result = call(*arguments, "--tta", "flips", "--tile", 64)
    assert result.exit_code == 0 and "2 labelled, 0 finished before, 0 skipped" in result.stdout
    image = np.asarray(Image.open(place / "scans" / "b.png"))
    expected = segmenter(mpp=0.5).predict(image, 0.25, tta="flips", tile=64).array
    assert np.array_equal(np.asarray(Image.open(out / "masks" / "b.png")), expected)
    assert (out / "overlays" / "b.png").is_file()
    with (out / "areas.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 2
    result = call(*arguments, "--tta", "flips", "--tile", 64)
    assert "0 labelled, 2 finished before" in result.stdout


def test_skipped_images_have_an_exit_code_of_their_own(place):
    (place / "scans" / "c.png").touch()
    result = call(place / "run", place / "scans", "--out", place / "out", "--device", "cpu")
    assert result.exit_code == 5
    assert "2 labelled, 0 finished before, 1 skipped" in result.stdout
    assert "zero bytes" in result.stderr and "works at 0.5 microns" in result.stderr


def test_a_model_folder_can_stand_for_the_run_and_a_classifier_can_gate(place):
    classifier(gain=80).save(place / "classifier")
    out = place / "out"
    gate = ["--gate", "predicted", "--classifier", place / "classifier", "--gate-threshold", 0.5]
    call(place / "run" / "model", place / "scans", "--out", out, "--no-overlays", *gate)
    assert '"gate": "predicted > 0.5"' in (out / "predict.json").read_text()
    assert not (out / "overlays").exists()


def test_scores_can_be_refined_on_the_way(place):
    classifier(gain=80).save(place / "classifier")
    chain = ["--refine", "white:150", "--refine", "{kind: crf, iterations: 3}"]
    call(place / "classifier", place / "scans", "--out", place / "out", *chain)
    image = np.asarray(Image.open(place / "scans" / "b.png"))
    configs = ["white:150", {"kind": "crf", "iterations": 3}]
    expected = classifier(gain=80).predict(image, refine=configs).array
    assert np.array_equal(np.asarray(Image.open(place / "out" / "masks" / "b.png")), expected)
    assert (expected == 255).any()
    with pytest.raises(OutputError, match="another refine"):
        call(place / "classifier", place / "scans", "--out", place / "out")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--tta", "d8"], "tta"),
        (["--tile", 8], "tile"),
        (["--overlap", 2000], "overlap"),
        (["--mpp", 0], "--mpp"),
        (["--mpp", "nan"], "--mpp"),
        (["--refine", "crff"], "crf, superpixels, walk, white, sam"),
        (["--refine", "{kind: crf, itertions: 3}"], "iterations"),
        (["--refine", "{"], "--refine"),
        (["--gate", "truth"], "--gate"),
        (["--gate", "predicted"], "classifier"),
        (["--device", "toaster"], "--device"),
        (["--device", "meta"], "--device"),
    ],
)
def test_wrong_options_are_explained(place, options, message):
    with pytest.raises(ConfigError, match=message):
        call(place / "run", place / "scans", "--out", place / "out", *options)
    assert not (place / "out").exists()


def test_a_folder_without_model_is_explained(place):
    with pytest.raises(WeightsError, match="histoweak run"):
        call(place / "scans", place / "scans", "--out", place / "out")


def test_help_names_the_exit_code():
    assert "Exit code: 0" in call("--help").stdout


def test_export_to_onnx(place):
    pytest.importorskip("onnxruntime", reason="needs the extra histoweak[onnx]")
    pytest.importorskip("onnxscript", reason="needs the extra histoweak[onnx]")
    classifier().save(place / "classifier")
    result = call("onnx", place / "classifier", place / "m.onnx", app=export_app)
    assert "equal to the network within" in result.stdout and (place / "m.onnx").is_file()
