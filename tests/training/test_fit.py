"""Training itself, on a network of a few weights: lengths, averages, selection, bad numbers."""

import json
import os
import pickle
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from histoweak.data.crops import AugmentConfig, Batch, CropDataset
from histoweak.data.frames import build_frames
from histoweak.data.manifest import Manifest
from histoweak.data.skips import Skips
from histoweak.errors import ConfigError, TrainingError
from histoweak.pipeline import StageContext
from histoweak.progress import Progress
from histoweak.training.config import FitConfig, OptimConfig, RuntimeConfig
from histoweak.training.fit import fit

CONSTANT = OptimConfig(name="sgd", momentum=0, weight_decay=0, lr=0.1, schedule="constant")


@pytest.fixture(scope="module")
def manifest(phantom: Path) -> Manifest:
    return Manifest.read(phantom)


@pytest.fixture(scope="module")
def dataset(manifest: Manifest, tmp_path_factory: pytest.TempPathFactory) -> CropDataset:
    records = manifest.split("train")
    store = build_frames(
        records, 4, tmp_path_factory.mktemp("frames"), mpp=None, assemble=True, with_masks=False,
        skips=Skips(len(records)), progress=Progress(quiet=True),
    )  # fmt: skip
    return CropDataset(store, size=32, augment=AugmentConfig(), seed=0, n_classes=4)


class Training:
    """One training of a network of twelve weights."""

    def __init__(self, dataset: CropDataset, manifest: Manifest, out: Path) -> None:
        self.dataset, self.manifest, self.out = dataset, manifest, out
        self.logged: list[dict[str, Any]] = []
        self.seen: list[Tensor] = []

    def __call__(
        self,
        trouble: Callable[[int, Tensor], Tensor] = lambda step, loss: loss,
        score: Callable[[nn.Module], float] | None = None,
        workers: int = 0,
        **settings: Any,
    ) -> nn.Module:
        self.out.mkdir(exist_ok=True)
        context = StageContext(
            self.out, {}, 0, self.manifest, log=lambda **values: self.logged.append(values)
        )
        torch.manual_seed(0)
        network = nn.Conv2d(3, 4, 1, bias=False)
        step = 0 if not self.checkpoint.exists() else self.steps_done

        def objective(network: nn.Module, images: Tensor, batch: Batch) -> dict[str, Tensor]:
            nonlocal step
            self.seen.append(next(network.parameters()).detach().clone())
            logits = network(images).mean((2, 3))
            loss = nn.functional.binary_cross_entropy_with_logits(logits, batch.labels)
            step += 1
            return {"loss": trouble(step - 1, loss)}

        config = FitConfig(**{"steps": 6, "batch": 4, "chunk": 3, "optim": CONSTANT} | settings)
        runtime = RuntimeConfig(accelerator="cpu", devices=1, workers=workers)
        return fit(
            network, objective, self.dataset, config, runtime, context,
            description="training", select=config.select, score=score,
        )  # fmt: skip

    @property
    def checkpoint(self) -> Path:
        return self.out / "_scratch" / "last.ckpt"

    @property
    def steps_done(self) -> int:
        return int(torch.load(self.checkpoint, weights_only=True)["global_step"])


@pytest.fixture
def training(dataset: CropDataset, manifest: Manifest, tmp_path: Path) -> Training:
    return Training(dataset, manifest, tmp_path / "work")


def weight(network: nn.Module) -> np.ndarray:
    return next(network.parameters()).detach().numpy()


@pytest.mark.parametrize(("steps", "chunk", "scored"), [(7, 3, [2, 5, 6]), (2, 50, [1])])
def test_the_last_chunk_may_be_shorter(
    training: Training, steps: int, chunk: int, scored: list[int]
) -> None:
    training(steps=steps, chunk=chunk, select="val-label", score=lambda network: 1.0)
    assert len(training.seen) == steps and training.steps_done == steps
    assert [e["step"] for e in training.logged if "validation" in e] == scored


def test_a_bad_loss_names_patches_and_keeps_the_checkpoint(
    training: Training, dataset: CropDataset, manifest: Manifest, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError) as caught:
        training(trouble=lambda step, loss: loss * float("nan") if step == 4 else loss)
    names = [dataset[4, slot].name for slot in range(4)]
    assert str(caught.value) == (
        f"the loss is not a number at step 4 (patches {', '.join(names)}). Lower fit.optim.lr "
        "or set fit.optim.clip=1.0 and run again: finished stages stay, and so does the last "
        "checkpoint of these settings"
    )
    assert caught.value.exit_code == 8
    assert training.steps_done == 3
    # The data loaders' processes fetch ahead: they, too, must begin where the checkpoint ends.
    resumed = weight(training(workers=1))
    assert len(training.seen) == 5 + 3
    whole = weight(Training(dataset, manifest, tmp_path / "whole")())
    np.testing.assert_array_equal(resumed, whole)


def test_a_bad_gradient_is_refused_before_it_spoils_the_weights(
    training: Training, dataset: CropDataset
) -> None:
    def break_gradient(step: int, loss: Tensor) -> Tensor:
        # The loss is a number, its slope is not.
        return loss + (loss - loss.detach()).sqrt() if step == 4 else loss

    names = ", ".join(dataset[4, slot].name for slot in range(4))
    with pytest.raises(TrainingError) as caught:
        training(trouble=break_gradient)
    said = f"the gradient is not a number at step 4 (patches {names}). Lower"
    assert str(caught.value).startswith(said)
    assert training.steps_done == 3 and len(training.seen) == 5


def test_weights_that_are_not_numbers_are_not_kept(training: Training) -> None:
    fast = CONSTANT.model_copy(update={"lr": 1e30})

    def steep(step: int, loss: Tensor) -> Tensor:
        return loss * (1e20 if step == 5 else 0)

    with pytest.raises(TrainingError, match=r"weights network.weight are not numbers after 6 st"):
        training(trouble=steep, optim=fast)
    assert training.steps_done == 3


def test_average_of_weights_is_that_of_a_loop(training: Training) -> None:
    averaged = weight(training(ema=0.9))
    # What the objective saw before step i + 1 is what step i left; the last is in the checkpoint.
    state = torch.load(training.checkpoint, weights_only=True)["state_dict"]
    after = [*training.seen[1:], state["network.weight"]]
    expected = after[0].double()
    for present in after[1:]:
        expected = 0.9 * expected + 0.1 * present.double()
    np.testing.assert_allclose(averaged, expected.numpy(), rtol=1e-6)
    assert np.abs(averaged - after[-1].numpy()).max() > 1e-4


def test_best_weights_are_returned_and_survive_a_failure(training: Training) -> None:
    scores = iter([0.3, 0.9, 0.5])
    with pytest.raises(TrainingError):
        training(
            trouble=lambda step, loss: loss * float("inf") if step == 7 else loss,
            score=lambda network: next(scores), select="val-label", steps=9,
        )  # fmt: skip
    best = weight(training(score=lambda network: next(scores), select="val-label", steps=9))
    # Weights after step 5, as the objective saw them at step 6 of either attempt.
    np.testing.assert_array_equal(best, training.seen[6].numpy())


def test_loader_processes_get_no_copy_of_the_pixels(dataset: CropDataset) -> None:
    assert dataset.store.frames[-1].offset * 3 > 100_000
    text = pickle.dumps(dataset)
    assert len(text) < 20_000
    copied = pickle.loads(text)  # noqa: S301 - of our own making
    assert torch.equal(copied[3, 1].image, dataset[3, 1].image)


def test_interruption_is_passed_on(training: Training) -> None:
    handler = signal.getsignal(signal.SIGINT)

    def press(step: int, loss: Tensor) -> Tensor:
        if step == 4:
            os.kill(os.getpid(), signal.SIGINT)
        return loss

    with pytest.raises(KeyboardInterrupt):
        training(trouble=press)
    assert signal.getsignal(signal.SIGINT) is handler
    assert training.steps_done == 3


def test_devices_that_are_none(training: Training, dataset: CropDataset) -> None:
    runtime = RuntimeConfig(accelerator="cpu", devices=0)
    context = StageContext(training.out, {}, 0, training.manifest)
    training.out.mkdir()
    with pytest.raises(ConfigError, match=r"runtime .*devices=0.*Correct --devices"):
        fit(
            nn.Conv2d(3, 4, 1), lambda *a: {}, dataset, FitConfig(), runtime, context,
            description="training",
        )  # fmt: skip


def test_lightning_stays_silent(
    training: Training, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    training()
    assert capfd.readouterr() == ("", "")
    assert sorted(path.name for path in training.out.rglob("*")) == ["_scratch", "last.ckpt"]
    assert json.dumps(training.logged)  # plain numbers
