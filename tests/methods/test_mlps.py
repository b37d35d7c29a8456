import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from histoweak.api import configure
from histoweak.classes import ClassSet
from histoweak.errors import ConfigError
from histoweak.methods import mlps
from histoweak.nets.resnet38d import ResNet38d
from histoweak.recipes import list_recipes
from histoweak.training.optim import build_optimizer, schedule
from tests.conftest import TINY
from tests.method_tester import MethodTester


class TestMlps(MethodTester):
    method = "mlps"
    settings = TINY["mlps"]
    gate = "predicted > 0.1"

    def test_every_frame_has_a_mask_of_every_layer_with_one_white(self, run: Path) -> None:
        (masks,) = (run / "stages").glob("pseudo-masks-*")
        summary = json.loads((masks / "pseudo_masks.json").read_text())
        assert len(summary["layers"]) == 3 and summary["layers"][2] == summary["coverage"]
        for index in range(16):
            names = [f"{index:06d}-0.png", f"{index:06d}-1.png", f"{index:06d}.png"]
            layers = np.stack([np.asarray(Image.open(masks / name)) for name in names])
            assert layers.shape[1:] == (64, 64)
            assert set(np.unique(layers)) <= {0, 1, 2, 3, 255}

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
