"""Optimisers and learning rate schedules."""

import math
from collections.abc import Callable

import torch
from torch import nn

from histoweak.training.config import OptimConfig


def build_optimizer(network: nn.Module, config: OptimConfig) -> torch.optim.Optimizer:
    """Build the optimiser; biases and normalisation carry no weight decay.

    Args:
        network: parameters whose names hold `encoder` get `lr`, all others `lr * head_lr`; those
            without weight decay `bias_lr` times that.
        config: the settings.
    """
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            # What is behind VGG's features or between them is new, whatever those start from.
            new = "encoder.head." in name or name.endswith(".controller")
            encoder = "encoder." in name and not new
            key = (encoder, parameter.ndim > 1)
            groups.setdefault(key, []).append(parameter)
    parameters = [
        {
            "params": members,
            "lr": config.lr
            * (1 if encoder else config.head_lr)
            * (1 if decays else config.bias_lr),
            "weight_decay": config.weight_decay if decays else 0.0,
        }
        for (encoder, decays), members in groups.items()
    ]
    if config.name == "adamw":
        # On a CPU the plain loop over weights takes a tenth of a training step. Elsewhere the
        # fused form does not go with clipping in 16 bits.
        on_cpu = all(weight.device.type == "cpu" for weight in network.parameters())
        return torch.optim.AdamW(parameters, lr=config.lr, fused=on_cpu)
    return torch.optim.SGD(
        parameters,
        lr=config.lr,
        momentum=config.momentum,
        nesterov=config.nesterov and config.momentum > 0,
    )


def schedule(config: OptimConfig, steps: int) -> Callable[[int], float]:
    """Return the factor on the learning rate as a function of the step, 0-based.

    `one-cycle`: cosine from 1/25 to 1 over the warm-up share, then cosine to nearly 0
    (Smith & Topin 2018). `poly`: `(1 - step / steps) ** power`, after a linear warm-up. `step`: a
    tenth for each of `drops` that is reached. `cyclic`: triangles between `low` and 1, both halved
    after every `halve_after` of them, without a warm-up (Smith 2017, as in the released code of
    Chan et al., IJCV 2021).
    """
    warmup = max(1, round(config.warmup * steps)) if config.warmup else 0

    def one_cycle(step: int) -> float:
        if step < warmup:
            return _cosine(1 / 25, 1.0, step / warmup)
        return _cosine(1.0, 1e-4, (step - warmup) / max(1, steps - warmup))

    def poly(step: int) -> float:
        rise = min(1.0, (step + 1) / warmup) if warmup else 1.0
        rest: float = max(0.0, 1 - step / steps) ** config.power
        return rise * rest

    def by_tenths(step: int) -> float:
        return 0.1 ** sum(step >= round(drop * steps) for drop in config.drops)

    def cyclic(step: int) -> float:
        place = config.cycles * step / steps
        height = 1 - abs(2 * (place % 1) - 1)
        halved: float = 0.5 ** (place // 1 // config.halve_after)
        return halved * (config.low + (1 - config.low) * height)

    def constant(step: int) -> float:
        return 1.0

    forms = {
        "one-cycle": one_cycle,
        "poly": poly,
        "step": by_tenths,
        "cyclic": cyclic,
        "constant": constant,
    }
    return forms[config.schedule]


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * min(1.0, share))) / 2
