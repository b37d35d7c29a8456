import csv
import json

import numpy as np
import pytest
from PIL import Image

from histoweak.errors import ConfigError, ImageError, OutputError
from histoweak.inference import predict as module
from histoweak.inference.config import InferenceConfig
from histoweak.inference.gating import GateRule
from histoweak.inference.predict import predict_images
from histoweak.refine.white import WhiteConfig
from tests.inference.models import CLASSES, classifier, segmenter, write_picture


def rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def scans(tmp_path):
    folder = tmp_path / "scans"
    for index, name in enumerate(("a.png", "b.png", "deep/a.png")):
        write_picture(folder / name, 40 + index, 50, seed=index)
    return folder


def test_masks_overlays_and_areas_agree_with_the_model(scans, tmp_path):
    model, out = segmenter(mpp=0.5, white=WhiteConfig(gray=120, min_pixels=4)), tmp_path / "out"
    result = predict_images(model, [scans], out, mpp=0.25)
    assert (result.done, result.resumed, result.skipped) == (3, 0, ())
    table = {row["mask"]: row for row in rows(out / "areas.csv")}
    assert sorted(table) == ["masks/b.png", "masks/deep_a.png", "masks/scans_a.png"]
    for name, row in table.items():
        image = np.asarray(Image.open(row["image"]))
        picture = Image.open(out / name)
        mask = np.asarray(picture)
        assert np.array_equal(mask, model.predict(image, 0.25).array)
        assert picture.mode == "P" and picture.getpalette()[:3] == list(CLASSES.colors[0])
        assert Image.open(out / name.replace("masks", "overlays")).size == picture.size
        assert (int(row["height"]), int(row["width"])) == mask.shape
        for index, label in enumerate(CLASSES.names):
            pixels = int((mask == index).sum())
            assert int(row[f"{label} pixels"]) == pixels
            assert float(row[f"{label} um2"]) == pytest.approx(pixels * 0.0625, abs=1e-3)
            assert float(row[f"{label} share"]) == pytest.approx(
                pixels / (mask != 255).sum(), abs=1e-6
            )
        assert int(row["no class pixels"]) == (mask == 255).sum() > 0
        assert float(row["no class share"]) == pytest.approx((mask == 255).mean(), abs=1e-6)
    assert not (out / "skipped.csv").exists()


def test_square_microns_stay_empty_without_a_scale(scans, tmp_path):
    predict_images(segmenter(), [scans / "b.png"], tmp_path / "out")
    (row,) = rows(tmp_path / "out" / "areas.csv")
    assert row["tumour um2"] == row["mpp"] == ""


def test_damaged_images_are_skipped_with_a_reason_and_the_rest_is_done(scans, tmp_path):
    (scans / "zero.png").touch()
    (scans / "torn.png").write_bytes((scans / "b.png").read_bytes()[:300])
    out = tmp_path / "out"
    result = predict_images(segmenter(), [scans, scans / "none.png"], out)
    assert result.done == 3 and len(result.skipped) == 3
    reasons = {row["image"]: row["reason"] for row in rows(out / "skipped.csv")}
    assert "zero bytes" in reasons[str(scans / "zero.png")]
    assert "decoded" in reasons[str(scans / "torn.png")]
    assert "does not exist" in reasons[str(scans / "none.png")]
    # A repaired image is taken up, and nothing is left to report.
    write_picture(scans / "zero.png")
    write_picture(scans / "torn.png")
    result = predict_images(segmenter(), [scans], out)
    assert (result.done, result.resumed, result.skipped) == (2, 3, ())
    assert not (out / "skipped.csv").exists() and len(rows(out / "areas.csv")) == 5


def test_when_no_image_can_be_read_it_is_an_error(tmp_path):
    (tmp_path / "a.png").touch()
    with pytest.raises(ImageError, match="1 of 1"):
        predict_images(segmenter(), [tmp_path / "a.png"], tmp_path / "out")
    assert rows(tmp_path / "out" / "skipped.csv")


def test_the_same_command_again_redoes_only_what_is_missing_or_changed(scans, tmp_path):
    out, model = tmp_path / "out", segmenter()
    predict_images(model, [scans], out)
    first = {p: p.stat().st_mtime_ns for p in out.rglob("*.png")}
    (out / "masks" / "b.png").unlink()
    write_picture(scans / "a.png", 33, 20, seed=9)
    result = predict_images(model, [scans], out)
    assert (result.done, result.resumed) == (2, 1)
    kept = [p.name for p, time in first.items() if p.stat().st_mtime_ns == time]
    assert kept == ["deep_a.png"] * 2
    assert {row["height"] for row in rows(out / "areas.csv")} == {"33", "41", "42"}


def test_a_stopped_prediction_keeps_what_is_finished(scans, tmp_path, monkeypatch):
    out, model = tmp_path / "out", segmenter()
    label, calls = module._label, []

    def interrupted(work, image):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return label(work, image)

    monkeypatch.setattr(module, "_label", interrupted)
    with pytest.raises(KeyboardInterrupt):
        predict_images(model, [scans], out)
    assert len(rows(out / "areas.csv")) == 2
    with (out / "done.jsonl").open("a") as file:
        file.write('{"sha256": "torn')  # as a killed process leaves it
    monkeypatch.setattr(module, "_label", label)
    result = predict_images(model, [scans], out)
    assert (result.done, result.resumed) == (1, 2)
    assert predict_images(model, [scans], out).resumed == 3


def test_other_settings_or_models_never_mix_in_one_folder(scans, tmp_path):
    out = tmp_path / "out"
    predict_images(segmenter(), [scans / "b.png"], out)
    with pytest.raises(OutputError, match="tta"):
        predict_images(segmenter(), [scans], out, config=InferenceConfig(tta="d4"))
    with pytest.raises(OutputError, match="model"):
        predict_images(segmenter(seed=1), [scans], out)
    # The batch decides nothing.
    predict_images(segmenter(), [scans], out, config=InferenceConfig(batch=1))
    assert json.loads((out / "predict.json").read_text())["tta"] == "none"


def test_a_folder_with_masks_of_others_is_left_alone(scans, tmp_path):
    write_picture(tmp_path / "masks" / "truth.png")
    with pytest.raises(OutputError, match="not from"):
        predict_images(segmenter(), [scans], tmp_path)


def test_an_unwritable_folder_is_named(scans, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="file"):
        predict_images(segmenter(), [scans], tmp_path / "file")


def test_the_gate_keeps_out_what_the_classifier_does_not_find(scans, tmp_path):
    gate = GateRule("predicted", classifier(gain=80), threshold=0.5)
    image = np.asarray(Image.open(scans / "b.png"))
    present = gate.classifier.patch_probs(image) >= 0.5
    assert 0 < present.sum() < 3
    predict_images(segmenter(), [scans / "b.png"], tmp_path / "out", gate=gate)
    mask = np.asarray(Image.open(tmp_path / "out" / "masks" / "b.png"))
    assert set(np.unique(mask)) <= set(np.flatnonzero(present))
    assert np.array_equal(mask, segmenter().predict(image, present=present).array)


def test_a_gate_needs_a_classifier_and_only_one():
    with pytest.raises(ConfigError, match="without classifier"):
        GateRule("predicted")
    with pytest.raises(ConfigError, match="with classifier"):
        GateRule("none", classifier())
    with pytest.raises(ConfigError, match="segmenter"):
        GateRule("predicted", segmenter())


def test_large_overlays_are_made_smaller(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "OVERLAY_SIDE", 30)
    write_picture(tmp_path / "a.png", 45, 90)
    predict_images(segmenter(), [tmp_path / "a.png"], tmp_path / "out")
    assert Image.open(tmp_path / "out" / "overlays" / "a.png").size == (30, 15)
    assert Image.open(tmp_path / "out" / "masks" / "a.png").size == (90, 45)
