"""The method as a whole, and its traps: what comes from elsewhere, and what is relative."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from histoweak.api import configure
from histoweak.classes import ClassSet
from histoweak.data.manifest import Manifest
from histoweak.errors import ConfigError
from histoweak.methods.drs import build
from histoweak.stages.scores import to_scores
from tests import program
from tests.conftest import TINY, write_settings
from tests.method_tester import MethodTester

CLASSES = ClassSet(("normal", "tumour"))


class TestDrs(MethodTester):
    method = "drs"
    settings = TINY["drs"]


def stages(*settings, recipe: str = "default") -> list[str]:
    return [stage.name for stage in build(configure("drs", recipe, settings), CLASSES)]


def test_without_the_refinement_network_scores_become_masks_themselves() -> None:
    assert stages({"refiner": None}) == [
        "frames", "classifier", "scores", "pseudo-masks", "segmenter", "evaluation",
    ]  # fmt: skip
    assert {"refiner", "refined-scores"} <= set(stages())


@pytest.mark.parametrize("recipe", ["glas-cpu", "phantom-cpu"])
def test_recipes_compare_fairly(recipe) -> None:
    """The common budget of classifier and segmenter; what lies between is as long as irn's."""
    own, common = configure("drs", recipe), configure("vgg-cam", recipe)
    assert own.classifier.fit == common.classifier.fit
    assert own.classifier.augment == common.classifier.augment
    assert own.segmenter.fit == common.segmenter.fit
    assert own.classifier.crop == own.refiner.crop == own.segmenter.crop == common.segmenter.crop
    between = configure("irn", recipe).boundary.fit
    assert (own.refiner.fit.steps, own.refiner.fit.batch) == (between.steps, between.batch)


def test_published_asks_for_saliency_maps_before_training(tmp_path) -> None:
    with pytest.raises(ConfigError, match=r"pseudo_masks.background.folder = None"):
        stages(recipe="published")
    given = {"pseudo_masks": {"background": {"folder": str(tmp_path)}}}
    assert stages(given, recipe="published")[-3:] == ["pseudo-masks", "segmenter", "evaluation"]


@pytest.mark.parametrize(
    ("background", "said"),
    [
        ({"kind": "constant"}, "with scores.reading = 'posterior'"),
        ({"kind": "nuclei"}, "without pseudo_masks.negative"),
    ],
)
def test_backgrounds_that_do_not_fit_are_refused(background, said) -> None:
    with pytest.raises(ConfigError, match=said):
        stages({"pseudo_masks": {"background": background}})


def test_a_peak_is_found_however_weak_the_evidence_but_not_a_posterior() -> None:
    """T6: without tumour, the strongest speck still scores 1 by its own maximum."""
    maps = np.stack([np.full((6, 6), 4.0), np.full((6, 6), 0.01)]).astype(np.float32)
    maps[1, 2, 3] = 0.05
    assert to_scores(maps, "peak")[1].max() > 0.99
    assert to_scores(maps, "posterior")[1].max() < 0.02


def test_a_run_with_saliency_maps_of_another_program(phantom: Path, tmp_path: Path) -> None:
    folder = tmp_path / "saliency"
    folder.mkdir()
    for record in Manifest.read(phantom).split("train"):
        grey = Image.open(record.image).convert("L").point(lambda v: 255 if v < 150 else 0)
        grey.save(folder / f"{record.image.stem}.png")
    settings = TINY["drs"] | {
        "refiner": None,
        "scores": {"tta": "none", "reading": "peak", "scales": {"combine": "max"}},
        "pseudo_masks": {
            "threshold": 0.2,
            "gate": None,
            "min_area": 0,
            "background": {"kind": "saliency", "folder": str(folder)},
        },
    }
    path = write_settings(tmp_path / "settings.yaml", settings)
    out = tmp_path / "run"
    ended = program.run("run", "drs", "--data", phantom, "--out", out, "--config", path)
    assert ended.code == 0, ended
    masks = sorted((out / "stages").glob("pseudo-masks-*/*.png"))
    train = Manifest.read(phantom).split("train")
    assert len(masks) == len(train)
    for mask, record in zip(masks, train, strict=True):
        classes = np.asarray(Image.open(mask)) != 255
        salient = np.asarray(Image.open(folder / f"{record.image.stem}.png")) > 50
        assert not classes[~salient].any()  # outlines are those of the saliency maps
