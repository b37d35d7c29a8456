import json
from pathlib import Path

import numpy as np
import pytest
import torch

from histoweak.classes import ClassSet
from histoweak.data.manifest import Manifest
from histoweak.errors import ManifestError
from histoweak.pipeline import StageContext
from histoweak.progress import Progress
from histoweak.stages.authenticity import (
    AuthenticityConfig,
    authenticity_stage,
    load_discriminator,
)
from histoweak.synthesis.authenticity import DiscriminatorConfig, p_real
from histoweak.synthesis.config import SynthesisConfig
from histoweak.training.config import FitConfig, RuntimeConfig
from tests.data.test_crops import frame, write_store

CLASSES = ClassSet(("smooth", "rough"))
NET = DiscriminatorConfig(width=0.125)
BRIEF = AuthenticityConfig(net=NET, fit=FitConfig(steps=6, batch=4, chunk=3), judged=8)


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    """Five patients; mixed patches are brighter than single ones, which is easily learnt."""
    rng = np.random.default_rng(0)
    described, images = [], []
    for patient in range(5):
        image = rng.normal(size=(32, 128, 3)) * 20 + np.repeat([70, 190], 64)[None, :, None]
        image[:, 32:64] += 30 * np.sin(np.arange(32))[:, None, None]
        boxes = [(0, 0, 32, 32), (32, 0, 64, 32), (64, 0, 96, 32), (96, 0, 128, 32)]
        labels = [(1, 0), (0, 1), (1, 1), (1, 1)]
        described.append(frame(boxes, 32, 128, patient=f"p{patient}", labels=labels))
        images.append(image.clip(0, 255).astype(np.uint8))
    folder = tmp_path / "frames"
    write_store(folder, described, images)
    return folder


def train(out: Path, frames: Path, kind="mosaic", config=BRIEF) -> Path:
    out.mkdir(exist_ok=True)
    stage = authenticity_stage(
        config, SynthesisConfig(), RuntimeConfig(accelerator="cpu", devices=1), kind
    )
    context = StageContext(
        out=out,
        inputs={"frames": frames},
        seed=1,
        manifest=Manifest(CLASSES, ()),
        progress=Progress(quiet=True),
    )
    stage.run(context)
    return out


def test_it_learns_what_is_real_and_says_how_well(tmp_path, frames) -> None:
    config = AuthenticityConfig(net=NET, fit=FitConfig(steps=30, batch=8), judged=32)
    out = train(tmp_path / "out", frames, config=config)
    figures = json.loads((out / "authenticity.json").read_text())
    assert figures["kind"] == "mosaic" and figures["crop"] == 32
    assert figures["accuracy"] > 0.9
    assert figures["accuracy"] == pytest.approx(
        (figures["recognised"] + 1 - figures["acceptance"]) / 2
    )
    assert figures["held_out_patients"] == 1 and figures["real_patches"] == 2
    network = load_discriminator(out)
    probabilities = p_real(network, torch.rand(3, 3, 32, 32))
    assert probabilities.shape == (3,) and not network.training


def test_a_resumed_training_equals_an_uninterrupted_one(tmp_path, frames, monkeypatch) -> None:
    whole = train(tmp_path / "whole", frames, "bezier")
    stopped = 0

    def interrupt(*args):
        nonlocal stopped
        stopped += 1
        if stopped == 5:  # within the second chunk
            raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr("histoweak.training.callbacks.ShowProgress.on_train_batch_end", interrupt)
        with pytest.raises(RuntimeError, match="killed"):
            train(tmp_path / "cut", frames, "bezier")
    cut = train(tmp_path / "cut", frames, "bezier")
    name = "discriminator.safetensors"
    assert (whole / name).read_bytes() == (cut / name).read_bytes()
    assert (whole / "authenticity.json").read_text() == (cut / "authenticity.json").read_text()


def test_the_best_chunk_is_kept_on_request(tmp_path, frames) -> None:
    config = BRIEF.model_copy(update={"keep_best": True})
    train(tmp_path / "out", frames, config=config)
    best = json.loads((tmp_path / "out" / "authenticity.json").read_text())["accuracy"]
    last = json.loads((train(tmp_path / "last", frames) / "authenticity.json").read_text())
    assert best >= last["accuracy"]


def test_without_mixed_patches_there_is_nothing_to_learn(tmp_path) -> None:
    boxes = [(0, 0, 16, 16), (16, 0, 32, 16)]
    described = frame(boxes, 16, 32, labels=[(1, 0), (0, 1)])
    folder = tmp_path / "frames"
    write_store(folder, [described], [np.zeros((16, 32, 3), np.uint8)])
    with pytest.raises(ManifestError, match="several classes"):
        train(tmp_path / "out", folder)
