"""What the segmenter begins with."""

from pathlib import Path
from typing import Any

import pytest
import torch

from histoweak.api import run_method
from histoweak.errors import ConfigError
from histoweak.inference.model import load_model
from histoweak.nets.segmenters import Segmenter
from tests.conftest import EVALUATION, FIT, SEGMENTER

STILL = {**FIT, "optim": {"lr": 1e-30, "weight_decay": 0.0}}
"""Leaves weights as they are, to the last digit."""


@pytest.mark.parametrize(("method", "start"), [("vgg-cam", "classifier"), ("drs", "refiner")])
def test_it_begins_with_what_is_asked_for(
    phantom: Path, tmp_path: Path, method: str, start: str
) -> None:
    net = {"encoder": "test_resnet", "strides": [8]}
    settings = {
        "classifier": {"net": net, "fit": FIT},
        "scores": {"tta": "none"},
        "segmenter": {**SEGMENTER, "start": start, "fit": STILL},
        "evaluation": EVALUATION,
        **({"refiner": {"net": net, "fit": FIT}} if method == "drs" else {}),
    }
    finished = run_method(method, phantom, tmp_path / "run", settings=[settings])
    learned = load_model(finished.artefacts[start] / "model").network
    network = load_model(finished.artefacts["segmenter"] / "model").network
    assert isinstance(network, Segmenter)
    body = learned.get_submodule("encoder.body")
    ours = dict(network.body.named_parameters())
    for name, weight in body.named_parameters():
        assert torch.equal(ours[name], weight), name


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("supervised", {"segmenter": {"start": "classifier"}}),
        ("vgg-cam", {"segmenter": {"start": "refiner"}}),
        ("drs", {"segmenter": {"start": "refiner"}, "refiner": None}),
    ],
)
def test_it_cannot_begin_with_what_nobody_trains(
    phantom: Path, tmp_path: Path, method: str, settings: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError, match=r"segmenter.start=\w+, but nothing of that name"):
        run_method(method, phantom, tmp_path / "run", settings=[settings])
