import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from scipy import ndimage

from histoweak.api import configure, run_method
from histoweak.classes import ClassSet
from histoweak.data.frames import FrameStore
from histoweak.data.manifest import Manifest
from histoweak.errors import ConfigError
from histoweak.export.png import write_index_png
from histoweak.methods import mlps
from histoweak.nets.resnet38d import ResNet38d
from histoweak.recipes import list_recipes
from histoweak.training.optim import build_optimizer, schedule
from tests.conftest import EVALUATION, TINY
from tests.method_tester import MethodTester, weights


class TestMlps(MethodTester):
    method = "mlps"
    settings = TINY["mlps"]
    gate = "predicted > 0.1"

    def test_every_frame_has_a_mask_of_every_layer_with_one_white(self, run: Path) -> None:
        (masks,) = (run / "stages").glob("pseudo-masks-*")
        summary = json.loads((masks / "pseudo_masks.json").read_text())
        assert len(summary["layers"]) == 3 and summary["layers"][2] == summary["coverage"]
        (frames,) = (run / "stages").glob("frames-*")
        store, seen = FrameStore(frames), []
        for index in range(16):
            names = [f"{index:06d}-0.png", f"{index:06d}-1.png", f"{index:06d}.png"]
            layers = np.stack([np.asarray(Image.open(masks / name)) for name in names])
            assert layers.shape[1:] == (64, 64)
            assert set(np.unique(layers)) <= {0, 1, 2, 3, 255}
            luma = np.asarray(Image.fromarray(store.image(index)).convert("L"))
            parts, count = ndimage.label(luma > 201)  # Pillow rounds to the nearest
            large = [part for part in range(1, count + 1) if (parts == part).sum() >= 50]
            seen.append(layers[:, np.isin(parts, large)])
        assert all((white == 255).all() for white in seen) and sum(w.size for w in seen) > 0

    def test_masks_of_held_out_images_reach_the_evaluation_alone(
        self, run: Path, table: Path, tmp_path: Path
    ) -> None:
        shutil.copytree(table.parent, tmp_path / "data")
        for record in Manifest.read(tmp_path / "data" / table.name).records:
            if record.split != "train":
                assert record.mask is not None
                write_index_png(record.mask, np.zeros((64, 64), np.uint8), CLASSES)
        other = tmp_path / "run"
        assert self.call(tmp_path / "data" / table.name, other).code == 0
        assert weights(other) == weights(run)
        (one,), (two,) = ((r / "stages").glob("evaluation-*/evaluation.json") for r in (run, other))
        assert json.loads(one.read_text())["ladder"] != json.loads(two.read_text())["ladder"]

    def test_only_the_segmenter_is_gated_and_tables_say_so(self, run: Path) -> None:
        (path,) = (run / "stages").glob("evaluation-*/evaluation.json")
        figures = json.loads(path.read_text())
        assert {rung["name"]: rung["gate"] for rung in figures["ladder"]} == {
            "CAM": "none",
            "pseudo-mask": "none",
            "layer b4_5": "none",
            "layer b5_2": "none",
            "segmenter": "predicted > 0.1",
        }
        assert "predicted &gt; 0.1" in (run / "report.html").read_text()


CLASSES = ClassSet(("a", "b", "c", "d"))


def config(*settings: str, recipe: str = "default") -> mlps.Config:
    made = configure("mlps", recipe, [yaml.safe_load(text) for text in settings])
    assert isinstance(made, mlps.Config)
    return made


def test_weights_and_layers_must_be_equally_many() -> None:
    few = config("segmenter: {mask_weights: [0.5, 0.5]}")
    with pytest.raises(ConfigError, match="one weight for each of the layers stride-8, stride-16"):
        mlps.build(few, CLASSES)


ONE_WHITE = (
    "segmenter: {loss: fifth-logit}",
    "scores: {reading: joint}",
    "pseudo_masks: {threshold: 0, min_area: 0}",
)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("scores: {reading: posterior}", "scores.reading = 'posterior'"),
        ("pseudo_masks: {threshold: 0.5}", "pseudo_masks.threshold = 0.5"),
        ("pseudo_masks: {min_area: 0.01}", "pseudo_masks.min_area = 0.01"),
        ("segmenter: {bootstrap: 0.1}", "segmenter.bootstrap = 0.1"),
    ],
)
def test_the_released_loss_needs_layers_with_one_white(wrong: str, message: str) -> None:
    mlps.build(config(*ONE_WHITE), CLASSES)
    with pytest.raises(ConfigError, match=re.escape(f"'fifth-logit' with {message}")):
        mlps.build(config(*ONE_WHITE, wrong), CLASSES)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            ["scores: {gradient: local}", "classifier: {net: {layer_heads: true}}"],
            "gradient = 'local' with classifier.net.layer_heads",
        ),
        (
            ["segmenter: {start: classifier, net: {encoder: resnet34}}"],
            "the segmenter's encoder 'resnet34' and that",
        ),
        (
            [
                "classifier: {net: {encoder: resnet38d, strides: [8], head: last}}",
                "classifier: {net: {frozen: norm-and-stem}}",
            ],
            "classifier.net.frozen without classifier.net.weights",
        ),
        (["evaluation: {gate: none, gate_form: multiply}"], "gate_form = 'multiply'"),
    ],
)
def test_settings_without_effect_are_refused_before_anything_runs(
    wrong: list[str], message: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        mlps.build(config(*wrong), CLASSES)


def test_published_runs_from_end_to_end(phantom: Path, tmp_path: Path) -> None:
    """Narrow, short and without weights; every other setting is that of the recipe."""
    fit = {"steps": 6, "batch": 4, "chunk": 3}
    # A stem that begins at random must not stay so.
    small = {"width_factor": 0.02, "weights": None, "frozen": "norm"}
    settings = {
        "classifier": {"net": small, "fit": fit, "crop": 64, "dropout_attention": {"epoch": 1}},
        "segmenter": {
            "net": {"encoder": "tu-test_resnet", "weights": None, "decoder_channels": 16},
            "fit": fit,
            "crop": 64,
        },
        "evaluation": EVALUATION,
    }
    finished = run_method(
        "mlps", phantom, tmp_path / "run", recipe="published", settings=[settings]
    )
    figures = json.loads((finished.artefacts["evaluation"] / "evaluation.json").read_text())
    assert figures["selection"] == "val-mask"
    assert figures["gate"] == "predicted > 0.1, logits times 0 or 1"
    summary = json.loads((finished.artefacts["pseudo-masks"] / "pseudo_masks.json").read_text())
    assert len(set(summary["layers"])) == 1  # a class everywhere but on the white they share


@pytest.mark.parametrize("name", list_recipes("mlps"))
def test_every_recipe_builds(name: str) -> None:
    stages = mlps.build(config(recipe=name), CLASSES)
    assert [stage.name for stage in stages] == [
        "frames", "classifier", "scores", "pseudo-masks", "segmenter", "evaluation"
    ]  # fmt: skip


def test_published_trains_as_the_released_code_really_does() -> None:
    """Its optimiser takes weight decay for momentum: 0.0005, that is none."""
    published = config(recipe="published")
    fit = published.classifier.fit
    assert fit.optim.momentum == 5e-4 and fit.optim.schedule == "poly"
    assert fit.steps == 20 * (16_678 // 20) and fit.batch == 20
    assert published.segmenter.fit.steps == 30 * -(-16_678 // 20)
    factor = schedule(fit.optim, fit.steps)
    assert factor(0) == 1 and factor(fit.steps // 2) == pytest.approx(0.5**0.9, rel=1e-3)
    network = ResNet38d(0.02)
    groups = build_optimizer(network, fit.optim).param_groups
    assert {g["momentum"] for g in groups} == {5e-4}
    full = [config(recipe=name) for name in ("luad-histoseg", "bcss-wsss")]
    assert [c.classifier.fit.optim.momentum for c in full] == [0, 0]
    assert [c.classifier.fit.steps // 20 for c in full] == [16_678 // 20, 23_422 // 20]
    nets = [c.segmenter.net for c in (published, *full)]
    assert {(net.atrous_rates, net.separable) for net in nets} == {((6, 12, 18), False)}
    assert full[1].pseudo_masks.white is None and full[0].pseudo_masks.white is not None
