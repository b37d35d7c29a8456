"""What the segmenter begins with."""

from pathlib import Path

import pytest
import torch

from histoweak.api import run_method
from histoweak.errors import ConfigError
from histoweak.inference.model import load_model
from histoweak.nets.segmenters import Segmenter
from tests.conftest import EVALUATION, FIT, SEGMENTER

STILL = {**FIT, "optim": {"lr": 1e-30, "weight_decay": 0.0}}
"""Leaves weights as they are, to the last digit."""


def test_it_begins_with_the_classifier_where_that_is_asked_for(
    phantom: Path, tmp_path: Path
) -> None:
    settings = {
        "classifier": {"net": {"encoder": "test_resnet", "strides": [8]}, "fit": FIT},
        "scores": {"tta": "none"},
        "segmenter": {**SEGMENTER, "start": "classifier", "fit": STILL},
        "evaluation": EVALUATION,
    }
    finished = run_method("vgg-cam", phantom, tmp_path / "run", settings=[settings])
    learned = load_model(finished.artefacts["classifier"] / "model").network
    network = load_model(finished.artefacts["segmenter"] / "model").network
    assert isinstance(network, Segmenter)
    body = learned.get_submodule("encoder.body")
    ours = dict(network.body.named_parameters())
    for name, weight in body.named_parameters():
        assert torch.equal(ours[name], weight), name


def test_full_supervision_has_no_classifier_to_begin_with(phantom: Path, tmp_path: Path) -> None:
    settings = [{"segmenter": {"start": "classifier"}}]
    with pytest.raises(ConfigError, match="start=classifier, but full supervision"):
        run_method("supervised", phantom, tmp_path / "run", settings=settings)
