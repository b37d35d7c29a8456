"""Train a network on crops of frames, resumably."""

import logging
import math
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import DataLoader

from histoweak.data.crops import CropDataset, StepSampler, collate
from histoweak.errors import ConfigError, TrainingError
from histoweak.pipeline import StageContext
from histoweak.training.callbacks import KeepCheckpoint, Score, SelectBest, ShowProgress
from histoweak.training.config import RuntimeConfig, Select, TrainConfig
from histoweak.training.module import Objective, TrainingModule


class _Crops(L.LightningDataModule):
    """Feeds the crops of the present chunk to this process."""

    def __init__(self, dataset: CropDataset, config: TrainConfig, workers: int) -> None:
        super().__init__()
        self.dataset, self.config, self.workers = dataset, config, workers

    def train_dataloader(self) -> DataLoader[object]:
        trainer = self.trainer
        if trainer is None:
            raise RuntimeError("the loader belongs to a trainer")
        world, rank = trainer.world_size, trainer.global_rank
        config = self.config
        sampler = StepSampler(
            # Not the epoch: Lightning puts it right only after loaders have begun to fetch.
            lambda: trainer.global_step // config.chunk,
            min(config.chunk, config.steps),
            config.batch,
            rank,
            world,
            total=config.steps,
        )
        return DataLoader(
            self.dataset,
            batch_sampler=sampler,
            collate_fn=collate,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
        )

    def transfer_batch_to_device(self, batch, device, dataloader_idx):  # type: ignore[no-untyped-def]
        return batch.to(device)


def fit(
    network: nn.Module,
    objective: Objective,
    dataset: CropDataset,
    config: TrainConfig,
    runtime: RuntimeConfig,
    context: StageContext,
    *,
    description: str,
    select: Select = "last",
    score: Score | None = None,
) -> nn.Module:
    """Train and return the network, in eval mode and on the CPU.

    A checkpoint in `context.scratch` is taken up where there is one; on CPU the result of a
    resumed run equals that of an uninterrupted one bit for bit.

    Args:
        network: what is trained; its initial weights must follow from `context.seed`.
        objective: its losses.
        dataset: where crops come from.
        config: length and optimiser.
        runtime: device and processes.
        context: where to log, show progress and keep checkpoints.
        description: what the progress bar says.
        select: which weights are returned; see `FitConfig`.
        score: needed when `select` is not `last`.

    Raises:
        TrainingError: the loss is not a number.
        ConfigError: the batch cannot be shared among the processes, or there is no such device or
            strategy.
        KeyboardInterrupt: the user wants to stop.
    """
    module = TrainingModule(network, objective, config, context.seed, context.log)
    checkpoint = context.scratch / "last.ckpt"
    best = context.scratch / "best.safetensors"
    task = context.progress.task
    callbacks: list[Callback] = [
        ShowProgress(lambda done: task(config.steps, description, done=done))
    ]
    if select != "last":
        if score is None:
            raise TrainingError(
                f"select={select} without anything to score",
                remedy="Give the validation split labels or masks, or set select=last",
            )
        callbacks.append(SelectBest(score, best, context.log))
    callbacks.append(KeepCheckpoint(checkpoint))
    with _without_chatter():
        trainer = _trainer(runtime, callbacks, config, context)
        _check_batch(config.batch, trainer.num_devices * trainer.num_nodes)
        trainer.fit(
            module,
            datamodule=_Crops(dataset, config, runtime.workers),
            ckpt_path=str(checkpoint) if checkpoint.exists() else None,
            weights_only=True,
        )
    trained = module.trained()
    if select != "last":
        trained.load_state_dict(load_file(best))
    return trained.cpu().eval()


def _trainer(
    runtime: RuntimeConfig,
    callbacks: list[Callback],
    config: TrainConfig,
    context: StageContext,
) -> L.Trainer:
    # Lightning's own choice might be MPS, which knows no doubles.
    auto = runtime.accelerator == "auto"
    try:
        return L.Trainer(
            accelerator=runtime.torch_device() if auto else runtime.accelerator,
            devices=runtime.devices,
            num_nodes=runtime.num_nodes,
            strategy=runtime.strategy,
            precision=runtime.precision,  # type: ignore[arg-type]
            max_epochs=math.ceil(config.steps / config.chunk),
            callbacks=callbacks,
            gradient_clip_val=config.optim.clip,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            default_root_dir=context.scratch,
            num_sanity_val_steps=0,
        )
    except Exception as error:  # Lightning raises many kinds; each means the same here
        asked = ", ".join(f"{name}={value!r}" for name, value in runtime)
        reason = str(error).partition(". ")[0]
        raise ConfigError(
            f"Lightning refuses them ({' '.join(reason.split())})",
            where=f"runtime {asked}",
            remedy="Correct --devices, --num-nodes or --strategy, or leave them out",
        ) from error


def _check_batch(batch: int, processes: int) -> None:
    if batch % processes:
        raise ConfigError(
            f"batch {batch} for {processes} processes",
            where="fit.batch",
            expected=f"a multiple of {processes}",
            remedy="Change fit.batch or the number of devices",
        )


@contextmanager
def _without_chatter() -> Iterator[None]:
    """Keep Lightning from speaking to the user, and from ending the program."""
    # It greets with hints on its products, and tells which process joined which group.
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    on_interrupt = signal.getsignal(signal.SIGINT)
    try:
        with warnings.catch_warnings():
            # It advises on worker counts and on resuming; neither fits chunks of own making.
            warnings.simplefilter("ignore")
            yield
    except SystemExit:
        # It leaves the program on Ctrl-C; a caller may have more to do.
        signal.signal(signal.SIGINT, on_interrupt)
        raise KeyboardInterrupt from None


def seeded(seed: int, purpose: str) -> None:
    """Seed the initial weights of a network, separately for each purpose."""
    state = np.random.SeedSequence((seed, *purpose.encode())).generate_state(1)
    torch.manual_seed(int(state[0]))
