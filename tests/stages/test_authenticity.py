import json
from pathlib import Path

import numpy as np
import pytest
import torch

from histoweak.classes import ClassSet
from histoweak.data.frames import FrameStore
from histoweak.data.manifest import Manifest
from histoweak.errors import ManifestError
from histoweak.pipeline import StageContext
from histoweak.progress import Progress
from histoweak.stages.authenticity import (
    AuthenticityConfig,
    AuthenticitySetting,
    Trial,
    authenticity_stage,
    load_discriminator,
)
from histoweak.synthesis.authenticity import Discriminator, DiscriminatorConfig, p_real
from histoweak.synthesis.bezier import bezier
from histoweak.synthesis.config import BezierConfig, MosaicConfig, SynthesisConfig
from histoweak.training.config import OptimConfig, RuntimeConfig, TrainConfig
from tests.data.test_crops import frame, write_store

CLASSES = ClassSet(("smooth", "rough"))
NET = DiscriminatorConfig(width=0.125)
BRIEF = AuthenticityConfig(net=NET, fit=TrainConfig(steps=6, batch=4, chunk=3), judged=8)


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
    runtime = RuntimeConfig(accelerator="cpu", devices=1)
    stage = authenticity_stage(config, SynthesisConfig(), runtime, kind, size=32, threshold=0.5)
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
    config = AuthenticityConfig(net=NET, fit=TrainConfig(steps=30, batch=8), judged=32)
    out = train(tmp_path / "out", frames, config=config)
    figures = json.loads((out / "authenticity.json").read_text())
    assert figures["kind"] == "mosaic" and figures["size"] == 32
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


@pytest.mark.parametrize("keep", [True, False])
def test_the_best_chunk_is_kept_on_request(tmp_path, frames, monkeypatch, keep) -> None:
    """The first chunk is given out as the best of two: its weights are those of half a training."""

    def weights(name: str, steps: int, keep: bool) -> bytes:
        fit = TrainConfig(steps=steps, batch=4, chunk=3, optim=OptimConfig(schedule="constant"))
        config = BRIEF.model_copy(update={"fit": fit, "keep_best": keep})
        folder = train(tmp_path / name, frames, config=config)
        return (folder / "discriminator.safetensors").read_bytes()

    half, whole = weights("half", 3, False), weights("whole", 6, False)
    scores = iter([0.9, 0.6, 0.7, 0.7])
    monkeypatch.setattr(Trial, "judge", lambda self, network: {"accuracy": next(scores)})
    assert weights("out", 6, keep) == (half if keep else whole) and half != whole


def trial(frames: Path, kind="mosaic", threshold: float = 0.5, turns: bool = True) -> Trial:
    made = SynthesisConfig(mosaic=MosaicConfig(turns=turns), bezier=BezierConfig(turns=turns))
    setting = AuthenticitySetting(
        authenticity=BRIEF, synthesis=made, kind=kind, size=32, threshold=threshold
    )
    return Trial(setting, FrameStore(frames), CLASSES, 1, frames)


def test_it_is_judged_on_patients_it_has_not_seen(frames) -> None:
    whole = trial(frames)
    assert len(whole.judges) == 1 and whole.unseen == {"real": True, "synthetic": True}
    assert set(whole.held.patients) == whole.judges
    assert set(whole.seen.patients) == {f"p{i}" for i in range(5)} - whole.judges
    shown = [
        {whole.store.frames[i].patient for group in whole.real(held).groups for i, _ in group}
        for held in (True, False)
    ]
    assert shown == [set(whole.judges), set(whole.seen.patients)]


def test_it_says_where_patients_that_judge_lack_a_class(frames) -> None:
    (judge,) = trial(frames).judges
    rows = json.loads((frames / "frames.json").read_text())
    for row in rows:
        if row["patient"] == judge:
            row["labels"] = [[1, 0], [1, 0], [1, 1], [1, 1]]
    (frames / "frames.json").write_text(json.dumps(rows))
    lacking = trial(frames)
    assert lacking.unseen == {"real": True, "synthetic": False}
    assert set(lacking.held.patients) > {judge} and judge not in lacking.seen.patients


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.62])
def test_acceptance_is_measured_where_the_filter_cuts(frames, threshold) -> None:
    judged = trial(frames, "bezier", threshold)
    torch.manual_seed(3)
    network = Discriminator(NET).eval()
    figures = judged.judge(network)
    generator = torch.Generator().manual_seed(judged.seed)
    images, _ = bezier(judged.held, 8, 32, BezierConfig(), generator)
    real = network(images.float() / 255).softmax(dim=1)[:, 1]
    assert figures["acceptance"] == pytest.approx(float((real > threshold).double().mean()))
    assert figures["threshold"] == threshold
    passed = float((real > 0.5).double().mean())
    assert figures["accuracy"] == pytest.approx((figures["recognised"] + 1 - passed) / 2)


@pytest.mark.parametrize("kind", ["mosaic", "bezier"])
def test_real_patches_are_turned_as_those_of_synthetic_images_are(frames, kind) -> None:
    """What only one of the two shows would be all that there is to learn."""
    for turns in (True, False):
        crops = trial(frames, kind, turns=turns).real(held_out=False)
        store = crops.store
        plain = [store.image(i)[:, x : x + 32] for i in range(5) for x in (64, 96)]
        same = [
            any(np.array_equal(crops[step, 0].image.permute(1, 2, 0), p) for p in plain)
            for step in range(24)
        ]
        assert all(same) if not turns else sum(same) < 12


def test_real_images_show_whole_frames_at_their_own_scale(tmp_path) -> None:
    """Larger patches are cut, not shrunk; smaller frames are left out where there are others."""
    image = np.random.default_rng(1).integers(0, 255, (80, 80, 3), np.uint8)
    single = frame([(0, 0, 32, 32), (32, 32, 64, 64)], 80, 80, "a", [(1, 0), (0, 1)])
    large = frame([(0, 0, 80, 80)], 80, 80, "b", [(1, 1)])
    small = frame([(0, 0, 24, 24)], 24, 24, "b", [(1, 1)])
    images = [image, image, image[:24, :24]]
    write_store(tmp_path / "all", [single, large, small], images)
    judged = trial(tmp_path / "all", turns=False)
    crops = judged.real(held_out=False)
    assert crops.groups == [[(1, 0)]] and not judged.mirrored(False)
    places = np.lib.stride_tricks.sliding_window_view(image, (32, 32), (0, 1))
    for step in range(4):
        shown = crops[step, 0].image.numpy()
        assert (places == shown).all((2, 3, 4)).any()
    write_store(tmp_path / "few", [single, small], [image, images[2]])
    alone = trial(tmp_path / "few", turns=False)
    assert alone.mirrored(False) and alone.real(held_out=False).groups == [[(1, 0)]]


def test_without_mixed_patches_there_is_nothing_to_learn(tmp_path) -> None:
    boxes = [(0, 0, 16, 16), (16, 0, 32, 16)]
    described = frame(boxes, 16, 32, labels=[(1, 0), (0, 1)])
    folder = tmp_path / "frames"
    write_store(folder, [described], [np.zeros((16, 32, 3), np.uint8)])
    with pytest.raises(ManifestError, match=r"several classes.*authenticity=null"):
        train(tmp_path / "out", folder)
