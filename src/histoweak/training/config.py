"""Settings of a training run."""

from typing import Literal

from pydantic import Field

from histoweak.config import StrictConfig

Select = Literal["last", "val-label", "val-mask"]


class OptimConfig(StrictConfig):
    """Optimiser and schedule.

    `adamw` with `one-cycle` trains from scratch in few steps; `sgd` with `poly` is what the
    published systems use, some of them with the `nesterov` form of momentum. `head_lr` multiplies
    the rate of new layers: those behind the encoder, and controllers of suppression; `bias_lr` that
    of biases and normalisation. The schedule `step` divides the rate by ten at each of `drops`,
    shares of the run; `cyclic` goes up and down between `low` times the rate and the rate, in
    `cycles` triangles over the run, and halves both bounds after every `halve_after` of them.
    """

    name: Literal["adamw", "sgd"] = "adamw"
    lr: float = Field(1e-3, gt=0)
    head_lr: float = Field(1.0, gt=0)
    bias_lr: float = Field(1.0, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    nesterov: bool = False
    weight_decay: float = Field(1e-2, ge=0)
    schedule: Literal["one-cycle", "poly", "step", "cyclic", "constant"] = "one-cycle"
    warmup: float = Field(0.2, ge=0, lt=1)
    power: float = Field(0.9, gt=0)
    drops: tuple[float, ...] = (0.5, 0.75)
    cycles: int = Field(8, ge=1)
    low: float = Field(0.05, gt=0, le=1)
    halve_after: int = Field(2, ge=1)
    clip: float | None = Field(None, gt=0)


class TrainConfig(StrictConfig):
    """Length and shape of training.

    `batch` counts crops per step over all processes. A chunk of `chunk` steps, the last one maybe
    fewer, is what Lightning calls an epoch: after each one a checkpoint is kept. `ema` keeps an
    exponential moving average of the weights with that decay and returns it in place of the last
    weights.
    """

    steps: int = Field(1000, ge=1)
    batch: int = Field(8, ge=1)
    chunk: int = Field(50, ge=1)
    optim: OptimConfig = OptimConfig()
    ema: float | None = Field(None, gt=0, lt=1)


class FitConfig(TrainConfig):
    """Length and shape of the training of a network that the validation split can judge.

    `select` decides which weights are returned: `last`; `val-label`, best of the chunks against the
    *patch labels* of the validation split; `val-mask`, best against its *masks*, which is pixel
    supervision through the back door and is named in every table. Classifiers are always judged
    by labels.
    """

    select: Select = "last"


class RuntimeConfig(StrictConfig):
    """Where and how to compute; nothing here is meant to change a result.

    The fields reach Lightning's Trainer under the same names. `auto` means CUDA where there is a
    GPU for it, else the processor.
    """

    accelerator: str = "auto"
    devices: int | str = "auto"
    num_nodes: int = Field(1, ge=1)
    strategy: str = "auto"
    precision: str = "32-true"
    workers: int = Field(0, ge=0)

    def torch_device(self) -> str:
        """Device for work outside the Trainer, as torch names it."""
        import torch

        if self.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
            return "cuda"
        return "cpu"
