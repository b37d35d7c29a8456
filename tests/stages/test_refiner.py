import json
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from histoweak.errors import ConfigError
from histoweak.nets.kinds import build_network
from histoweak.nets.refiner import RefinerNetConfig
from histoweak.nets.suppression import SuppressedNetConfig
from histoweak.objectives.regression import ABSENT, TOP, UNKNOWN
from histoweak.refine.white import WhiteConfig
from histoweak.stages import refiner
from histoweak.stages.refined_scores import regressed_scores
from histoweak.stages.refiner import RefinerConfig, Targets, refiner_stage, start_from
from histoweak.stages.scores import score_file, write_scores
from histoweak.training.config import RuntimeConfig
from tests.stages.test_pseudo_masks import frame

SMALL = {"encoder": "vgg16_bn", "vgg_width": 0.05}


def test_it_starts_from_all_layers_of_the_classifier_but_the_head() -> None:
    classifier = build_network(SuppressedNetConfig(**SMALL), 2)
    network = build_network(RefinerNetConfig(**SMALL), 2)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    start_from(network, classifier)
    for name, value in network.state_dict().items():
        source = before if name.startswith("head.") else classifier.state_dict()
        assert torch.equal(value, source[name]), name


def test_other_layers_than_the_classifiers_are_refused_before_training() -> None:
    make = partial(refiner_stage, reading="posterior", runtime=RuntimeConfig())
    classifier = SuppressedNetConfig(**SMALL)
    make(RefinerConfig(net=RefinerNetConfig(**SMALL, weights="x.safetensors")), classifier)
    other = RefinerNetConfig(**SMALL, strides=(16,))
    with pytest.raises(ConfigError, match=r"refiner.net.strides = \(16,\)"):
        make(RefinerConfig(net=other), classifier)
    own = make(RefinerConfig(net=other, start="own"), classifier)
    assert own.inputs == ("frames", "scores")


@pytest.fixture
def store():
    """One frame of 8 x 16 pixels; the left patch is class 0, the right one has both classes."""
    one = frame([(0, 0, 8, 8), (8, 0, 16, 8)], [(1, 0), (1, 1)], 8, 16)
    image = np.full((8, 16, 3), 120, np.uint8)
    image[:, 14:] = 255
    return SimpleNamespace(frames=(one,), image=lambda index: image)


def test_targets_follow_scores_labels_and_white(store, tmp_path, monkeypatch) -> None:
    scores = np.stack([np.full((2, 4), 0.25), np.full((2, 4), 0.75)]).astype(np.float32)
    write_scores(tmp_path / score_file(0), scores)
    (tmp_path / "scores.json").write_text(json.dumps({"stride": 4}))
    white = WhiteConfig(min_pixels=0)
    target = Targets(store, tmp_path, "posterior", 2, white)(0)
    assert target.shape == (2, 8, 16)
    assert (target[0, :, :8] == TOP).all()  # the label leaves no other class
    assert (target[1, :, :8] == ABSENT).all()
    assert (target[0, :, 8:14] == 0).all() and (target[1, :, 8:14] == round(0.75 * TOP)).all()
    assert (target[:, :, 14:] == UNKNOWN).all()
    relative = Targets(store, tmp_path, "peak", 2, None)
    assert (relative(0)[0, :, :8] == round(0.25 * TOP)).all()
    kept = relative(0)
    assert relative(0) is kept
    monkeypatch.setattr(refiner, "KEPT", 0)
    poor = Targets(store, tmp_path, "peak", 2, None)
    assert poor(0) is not poor(0) and np.array_equal(poor(0), kept)


def test_regressed_maps_are_scores() -> None:
    maps = np.array([[[-0.2, 0.4, 1.5]], [[-0.1, 0.2, 0.5]]], np.float32)
    clipped = [[[0, 0.4, 1]], [[0, 0.2, 0.5]]]
    np.testing.assert_allclose(regressed_scores(maps, "peak"), clipped)
    shares = regressed_scores(maps, "posterior")
    np.testing.assert_allclose(shares, [[[0.5, 2 / 3, 2 / 3]], [[0.5, 1 / 3, 1 / 3]]], rtol=1e-6)
