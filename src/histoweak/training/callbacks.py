"""What happens between chunks of training: checkpoints, selection, progress."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from safetensors.torch import save_file
from torch import nn

from histoweak.atomic import sync_file
from histoweak.errors import TrainingError
from histoweak.progress import Task
from histoweak.training.module import LOWER_THE_RATE, TrainingModule

Score = Callable[[nn.Module], float]
"""Scores a network on the validation split; higher is better."""


class KeepCheckpoint(Callback):
    """Write one resumable checkpoint after every chunk, whole or not at all.

    Lightning's own callback writes in place; a process killed in that moment would leave half a
    file. Here the new file takes the place of the old one only when it is complete. Weights that
    are not numbers are not kept: nothing could be learned from them any more.

    Args:
        path: the checkpoint file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Save, then rename.

        Raises:
            TrainingError: a weight is not a number.
        """
        require_finite(module, trainer.global_step)
        fresh = self.path.with_suffix(".partial")
        trainer.save_checkpoint(fresh)
        if trainer.is_global_zero:
            sync_file(fresh)
            fresh.replace(self.path)


def require_finite(network: nn.Module, step: int) -> None:
    """Refuse weights that are not numbers.

    Raises:
        TrainingError: naming the first such parameter.
    """
    for name, value in network.named_parameters():
        if not torch.isfinite(value).all():
            raise TrainingError(
                f"the weights {name} are not numbers after {step} steps", remedy=LOWER_THE_RATE
            )


class SelectBest(Callback):
    """Keep the weights that score best on the validation split.

    Args:
        score: scores a network.
        path: safetensors file that receives the best weights.
        log: receives the score of each chunk.
    """

    def __init__(self, score: Score, path: Path, log: Callable[..., None]) -> None:
        self.score, self.path = score, path
        # Not `log`: Lightning puts its own there.
        self.record = log
        self.best = float("-inf")

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Score the present weights and keep them if they are the best so far."""
        if not trainer.is_global_zero:
            return
        if not isinstance(module, TrainingModule):
            raise TypeError(f"expected a TrainingModule, got {type(module).__name__}")
        network = module.trained()
        training = network.training
        network.eval()
        with torch.no_grad():
            value = self.score(network)
        network.train(training)
        self.record(step=trainer.global_step - 1, validation=value)
        if value > self.best:
            self.best = value
            fresh = self.path.with_suffix(".partial")
            save_file({k: v.contiguous() for k, v in network.state_dict().items()}, fresh)
            fresh.replace(self.path)

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run must know."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the best score of the earlier attempt."""
        self.best = state_dict["best"]


class ShowProgress(Callback):
    """Advance a progress task with every step.

    Args:
        start: makes the task, given the number of steps already done.
    """

    def __init__(self, start: Callable[[int], Task]) -> None:
        self.start = start
        self.task: Task | None = None

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Begin the task where a resumed run takes up."""
        self.task = self.start(trainer.global_step)

    def on_train_batch_end(self, *args: Any) -> None:
        """Count one step."""
        if self.task is not None:
            self.task.advance()
