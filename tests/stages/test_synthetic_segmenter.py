"""What the stage of HisynSeg hands to training: its judges, its real crops, its gate."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from histoweak.classes import ClassSet
from histoweak.data.manifest import Manifest
from histoweak.errors import ManifestError
from histoweak.nets.segmenters import SegmenterNetConfig
from histoweak.pipeline import StageContext
from histoweak.stages import synthetic_segmenter
from histoweak.stages.authenticity import FIGURES, WEIGHTS
from histoweak.stages.synthetic_segmenter import (
    SyntheticSegmenterConfig,
    synthetic_segmenter_stage,
)
from histoweak.synthesis.authenticity import Discriminator, DiscriminatorConfig
from histoweak.synthesis.config import SynthesisConfig
from histoweak.training.config import FitConfig, RuntimeConfig
from tests.data.test_crops import frame, write_store

NET = DiscriminatorConfig(width=0.125)
SMALL = SyntheticSegmenterConfig(
    net=SegmenterNetConfig(encoder="tu-test_resnet", decoder_channels=16),
    crop=32,
    fit=FitConfig(select="val-mask"),
)


class CaughtError(Exception):
    """Carries what training was called with."""


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, Path]:
    """Frames of one mixed window among three, and a discriminator of mosaics."""
    boxes = [(0, 0, 32, 32), (32, 0, 64, 32), (64, 0, 96, 32)]
    described = frame(boxes, 32, 96, labels=[(1, 0), (0, 1), (1, 1)])
    noise = np.random.default_rng(0).integers(0, 256, (32, 96, 3), np.uint8)
    write_store(tmp_path / "frames", [described], [noise])
    judge = tmp_path / "judge"
    judge.mkdir()
    torch.manual_seed(9)
    save_file(Discriminator(NET).state_dict(), judge / WEIGHTS)
    (judge / FIGURES).write_text(f'{{"net": {NET.model_dump_json()}}}')
    return {"frames": tmp_path / "frames", "authenticity-mosaic": judge}


def called(
    tmp_path: Path, inputs: dict[str, Path], monkeypatch: pytest.MonkeyPatch, **changes: Any
) -> dict[str, Any]:
    def spy(network: Any, objective: Any, dataset: Any, *args: Any, **more: Any) -> None:
        raise CaughtError({"network": network, "objective": objective, "dataset": dataset, **more})

    monkeypatch.setattr(synthetic_segmenter, "fit", spy)
    stage = synthetic_segmenter_stage(
        SMALL.model_copy(update=changes), SynthesisConfig(), RuntimeConfig(), judged=["mosaic"]
    )
    out = tmp_path / "out"
    out.mkdir(exist_ok=True)
    manifest = Manifest(ClassSet(("smooth", "rough")), ())
    with pytest.raises(CaughtError) as caught:
        stage.run(StageContext(out=out, inputs=inputs, seed=1, manifest=manifest))
    found: dict[str, Any] = caught.value.args[0]
    return found


def test_the_discriminators_judge_what_is_made(tmp_path, inputs, monkeypatch) -> None:
    judges = called(tmp_path, inputs, monkeypatch)["objective"].synthesis.judges
    assert list(judges) == ["mosaic"] and not judges["mosaic"].training
    torch.manual_seed(9)
    for name, value in Discriminator(NET).state_dict().items():
        assert torch.equal(judges["mosaic"].state_dict()[name], value)


@pytest.mark.parametrize(("real", "windows"), [("mixed", [2]), ("all", [0, 1, 2])])
def test_real_crops_lie_around_the_patches_asked_for(
    tmp_path, inputs, monkeypatch, real, windows
) -> None:
    (group,) = called(tmp_path, inputs, monkeypatch, real=real)["dataset"].groups
    assert [window for _, window in group] == windows


@pytest.mark.parametrize("gate", ["none", "truth"])
def test_validation_is_gated_as_asked(tmp_path, inputs, monkeypatch, gate) -> None:
    found = called(tmp_path, inputs, monkeypatch, validation_gate=gate)
    gates: list[str] = []
    monkeypatch.setattr(
        synthetic_segmenter, "validation_score", lambda *args: gates.append(args[3]) or 0.0
    )
    found["score"](found["network"])
    assert gates == [gate]


def test_without_mixed_patches_both_settings_are_named(tmp_path, inputs) -> None:
    boxes = [(0, 0, 32, 32), (32, 0, 64, 32)]
    plain = np.zeros((32, 64, 3), np.uint8)
    described = frame(boxes, 32, 64, labels=[(1, 0), (0, 1)])
    write_store(tmp_path / "single", [described], [plain])
    stage = synthetic_segmenter_stage(SMALL, SynthesisConfig(), RuntimeConfig())
    manifest = Manifest(ClassSet(("smooth", "rough")), ())
    context = StageContext(tmp_path, {"frames": tmp_path / "single"}, 1, manifest)
    with pytest.raises(ManifestError, match=r"segmenter\.real=all and authenticity=null"):
        stage.run(context)
