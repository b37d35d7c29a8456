"""The Lightning module that every network of histoweak is trained in."""

from collections.abc import Callable
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from histoweak.data.crops import Batch
from histoweak.data.stain import jitter_stain
from histoweak.errors import TrainingError
from histoweak.training.config import TrainConfig
from histoweak.training.optim import build_optimizer, schedule

Objective = Callable[[nn.Module, Tensor, Batch], dict[str, Tensor]]
"""(network, images (B,3,C,C) in [0,1], batch) -> named losses; `loss` is minimised."""

LOWER_THE_RATE = (
    "Lower fit.optim.lr or set fit.optim.clip=1.0 and run again: finished stages stay, "
    "and so does the last checkpoint of these settings"
)


class TrainingModule(L.LightningModule):
    """Network, objective, optimiser and, if asked for, moving average.

    Args:
        network: what is trained.
        objective: its losses.
        config: length, optimiser, average.
        seed: seeds the random numbers of every step on their own, so that a resumed run draws
            what an uninterrupted one would have drawn.
        log: receives `step`, the losses and the learning rate now and then.
    """

    def __init__(
        self,
        network: nn.Module,
        objective: Objective,
        config: TrainConfig,
        seed: int,
        log: Callable[..., None],
    ) -> None:
        super().__init__()
        self.network = network
        self.objective, self.config, self.seed, self.record = objective, config, seed, log
        self.names: tuple[str, ...] = ()
        self.average: AveragedModel | None = None
        if config.ema is not None:
            average = get_ema_multi_avg_fn(config.ema)  # type: ignore[no-untyped-call]
            self.average = AveragedModel(network, multi_avg_fn=average, use_buffers=True)
            # Several processes would wait for gradients that never come.
            self.average.requires_grad_(False)

    def trained(self) -> nn.Module:
        """Return the network to keep: the average where there is one."""
        if self.average is None:
            return self.network
        network: nn.Module = self.average.module
        return network

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """Return the loss of one step.

        Raises:
            TrainingError: the loss is not a number; names all patches of the batch.
        """
        step = self.global_step
        seeds = np.random.SeedSequence((self.seed, step, self.global_rank)).generate_state(1)
        torch.manual_seed(int(seeds[0]))
        images = jitter_stain(batch.images.float() / 255, batch.stain)
        losses = self.objective(self.network, images, batch)
        self.names = batch.names
        if not torch.isfinite(losses["loss"]):
            raise self._broken("loss")
        if self.global_rank == 0 and (step % 10 == 0 or step + 1 == self.config.steps):
            rate = self.optimizers().param_groups[0]["lr"]  # type: ignore[union-attr]
            self.record(step=step, lr=rate, **{k: float(v.detach()) for k, v in losses.items()})
        return losses["loss"]

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Refuse gradients that are no numbers: after the step the weights would be none either.

        Raises:
            TrainingError: names the patches of the batch.
        """
        # Half precision scales losses until gradients overflow, and skips those steps by itself.
        if self.trainer.precision == "16-mixed":
            return
        slopes = [p.grad for p in self.network.parameters() if p.grad is not None]
        norms: list[Tensor] = list(torch._foreach_norm(slopes)) if slopes else []
        if norms and not torch.isfinite(torch.stack(norms)).all():
            raise self._broken("gradient")

    def _broken(self, what: str) -> TrainingError:
        """The error that names step and patches."""
        step, names = self.global_step, ", ".join(self.names)
        problem = f"the {what} is not a number at step {step} (patches {names})"
        return TrainingError(problem, remedy=LOWER_THE_RATE)

    def on_train_batch_end(self, *args: Any) -> None:
        """Move the average along."""
        if self.average is not None:
            self.average.update_parameters(self.network)

    def configure_optimizers(self) -> Any:
        """Return optimiser and per-step schedule."""
        optimizer = build_optimizer(self.network, self.config.optim)
        factor = schedule(self.config.optim, self.config.steps)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }
