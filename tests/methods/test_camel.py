import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from histoweak.api import configure
from histoweak.classes import ClassSet
from histoweak.data.instances import InstanceStore
from histoweak.data.manifest import Manifest
from histoweak.errors import ConfigError
from histoweak.inference.model import TissueModel
from histoweak.methods.camel import EnrichmentConfig, build
from histoweak.nets.instances import InstanceNet, InstanceNetConfig
from histoweak.pipeline import StageContext
from histoweak.stages.labels import mean_precision
from histoweak.stages.pseudo_masks import make_mask
from histoweak.stages.scores import write_scores
from tests import program
from tests.conftest import TINY, write_settings
from tests.data.test_crops import frame, write_store
from tests.method_tester import MethodTester


class TestCamel(MethodTester):
    method = "camel"
    settings = TINY["camel"]


def test_enrichment_leaves_no_holes_among_many_classes() -> None:
    scores = np.array([[[0.40, 0.20]], [[0.35, 0.45]], [[0.25, 0.35]]], np.float32)
    allowed, image = np.ones((3, 1, 2), bool), np.full((1, 2, 3), 100, np.uint8)
    config = EnrichmentConfig(white=None)
    mask = make_mask(scores, allowed, image, config, "posterior", ClassSet(("a", "b", "c")))
    assert mask.tolist() == [[0, 1]]


def nested(path, value):
    for key in reversed(path.split(".")):
        value = {key: value}
    return value


def settings(*more):

    return configure("camel", "default", [nested(*one) for one in more])


def test_the_negative_class_is_one_of_several() -> None:
    classes = ClassSet(("adenoma", "normal"))
    config = settings(("cmil.bags.negative", "normal"), ("cascade", {}))
    stages = {stage.name: stage.config for stage in build(config, classes)}
    for name in ("cmil-max-coarse", "cmil-min"):
        assert stages[name].bags.negative == "normal" and stages[name].net.negative == 1
    for names in (("a", "b"), ("normal",)):
        with pytest.raises(ConfigError, match=r"cmil\.bags\.negative = 'normal'"):
            build(config, ClassSet(names))
    coarse = ("cascade.cmil.net.side", 128)
    for path, value in (("cmil.net.negative", 0), ("cascade.cmil.bags.negative", "adenoma")):
        with pytest.raises(ConfigError, match=r"Set cmil\.bags\.negative alone"):
            build(settings(coarse, (path, value)), classes)


def test_enrichment_finds_the_negative_class_in_patches_that_do_not_name_it(tmp_path) -> None:
    classes = ClassSet(("adenoma", "normal"))
    config = settings(("cmil.bags.negative", "normal"), ("pseudo_masks.white", None))
    enrich = next(s for s in build(config, classes) if s.name == "pseudo-masks")
    described = frame([(0, 0, 32, 32)], 32, 32, labels=[(1, 0)])
    write_store(tmp_path / "frames", [described], [np.full((32, 32, 3), 100, np.uint8)])
    inputs = {"frames": tmp_path / "frames", "scores": tmp_path / "scores"}
    inputs["scores"].mkdir()
    adenoma = np.array([[0.9, 0.1], [0.9, 0.1]], np.float32)
    write_scores(inputs["scores"] / "000000.tif", np.stack([adenoma, 1 - adenoma]))
    (inputs["scores"] / "scores.json").write_text('{"stride": 16}')
    (inputs["scores"] / "patch_probs.csv").write_text("frame,window,a,b\n0,0,0.9,0.9\n")
    enrich.run(StageContext(tmp_path, inputs, 0, Manifest(classes, ())))
    mask = np.asarray(Image.open(tmp_path / "000000.png"))
    assert mask.tolist() == [[0] * 16 + [1] * 16] * 32


def test_the_coarse_round_is_as_the_last_but_for_its_lattice() -> None:
    fine = configure("camel", "published")
    lattice = ("cascade.cmil.net.side", 640), ("cascade.cmil.fit.steps", 7)
    layers = [nested(*one) for one in lattice]
    coarse = configure("camel", "published", layers).cascade.cmil
    assert (coarse.net.side, coarse.net.strides, coarse.fit.steps) == (640, (64,), 7)
    net = fine.cmil.net.model_copy(update={"side": 640, "strides": (64,)})
    fit = fine.cmil.fit.model_copy(update={"steps": 7})
    assert coarse == fine.cmil.model_copy(update={"net": net, "fit": fit})


def test_checkpoints_are_not_chosen_by_the_negative_class(monkeypatch) -> None:
    """A perfect classifier finds normal instances in images that are not labelled as normal."""
    probs = np.array([[0.9, 1.0], [0.8, 1.0], [0.1, 0.99], [0.2, 0.98]])
    labels = np.array([[1, 0], [1, 0], [0, 1], [0, 1]])
    monkeypatch.setattr("histoweak.stages.labels.label_probs", lambda *given: (probs, labels))
    classes = ClassSet(("adenoma", "normal"))
    net = InstanceNetConfig(encoder="test_resnet", side=32, strides=(32,))
    found = []
    for negative in (None, 1):
        own = net.model_copy(update={"negative": negative})
        model = TissueModel(InstanceNet(own, 2), own, classes)
        found.append(mean_precision(model, ()))
    assert found[0] < 0.9 and found[1] == 1


@pytest.mark.parametrize("side", [96, 64])
def test_coarse_instances_hold_whole_fine_ones(side) -> None:
    with pytest.raises(ConfigError, match=rf"cascade\.cmil\.net\.side = {side}"):
        settings(("cascade.cmil.net.side", side), ("cascade.cmil.net.strides", [32]))


def test_a_cascade_adds_coarse_instances_to_the_patches(phantom: Path, tmp_path: Path) -> None:
    coarse = {"net": {"encoder": "test_resnet", "side": 64, "strides": [32]}}
    cascade = {"cmil": {**TINY["camel"]["cmil"], **coarse}, "bags": {"threshold": 0.0}}
    settings = write_settings(tmp_path / "tiny.yaml", {**TINY["camel"], "cascade": cascade})
    out = tmp_path / "run"
    words = ("run", "camel", "--data", phantom, "--out", out, "--config", settings)
    negative = ("--set", "cmil.bags.negative=tumour")
    ended = program.run(*words, "--select", "val-label", *negative)
    assert ended.code == 0, ended
    names = [stage["name"] for stage in json.loads((out / "run.json").read_text())["stages"]]
    assert names[1:7] == [
        "cmil-max-coarse", "cmil-min-coarse", "instances-coarse", "classifier-coarse", "bags",
        "cmil-max",
    ]  # fmt: skip
    folders = {p.name.rsplit("-", 1)[0]: p for p in (out / "stages").iterdir()}
    store = InstanceStore(folders["frames"], folders["bags"] / "instances.json")
    first = store.frames[0]
    # A patch of 64 px is one coarse instance, which at threshold 0 carries the label of the patch,
    # and the first class, which any patch may hold.
    assert np.allclose(first.boxes, [[0, 0, 64, 64]] * 2)
    assert first.labels[1] == (1, *first.labels[0][1:])
