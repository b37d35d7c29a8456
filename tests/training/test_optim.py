import math

import numpy as np
import pytest
import torch
from torch import nn

from histoweak.nets.cam_classifier import CamClassifier, ClassifierNetConfig
from histoweak.nets.segmenters import Segmenter, SegmenterNetConfig
from histoweak.training.config import OptimConfig
from histoweak.training.optim import build_optimizer, schedule

CLASSIFIER = ClassifierNetConfig(encoder="vgg16_bn", vgg_width=0.05)
SEGMENTER = SegmenterNetConfig(encoder="tu-test_resnet", decoder_channels=16)


def rates(network: nn.Module, config: OptimConfig) -> dict[str, tuple[float, float]]:
    """(learning rate, weight decay) of each parameter by name."""
    optimizer = build_optimizer(network, config)
    of = {
        id(p): (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for p in group["params"]
    }
    assert sum(len(g["params"]) for g in optimizer.param_groups) == len(of)
    return {name: of[id(p)] for name, p in network.named_parameters() if id(p) in of}


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_new_layers_learn_at_their_own_rate_and_only_weights_decay(name) -> None:
    config = OptimConfig(name=name, lr=0.01, head_lr=10, weight_decay=0.3)
    found = rates(CamClassifier(CLASSIFIER, 2), config)
    assert found["encoder.features.0.weight"] == (0.01, 0.3)
    assert found["encoder.features.0.bias"] == (0.01, 0.0)
    assert found["encoder.features.1.weight"] == (0.01, 0.0)  # batch normalisation
    assert found["encoder.head.0.weight"] == (0.1, 0.3)  # new, though it lies in the encoder
    assert found["head.weight"] == (0.1, 0.3) and found["head.bias"] == (0.1, 0.0)


def test_every_parameter_of_a_segmenter_has_its_group() -> None:
    network = Segmenter(SEGMENTER, 2)
    found = rates(network, OptimConfig(lr=0.01, head_lr=10, weight_decay=0.3))
    for name, parameter in network.named_parameters():
        rate = 0.01 if name.startswith("network.encoder.") else 0.1
        assert found[name] == (pytest.approx(rate), 0.3 if parameter.ndim > 1 else 0.0)


def test_frozen_parameters_are_left_out() -> None:
    network = CamClassifier(CLASSIFIER, 2)
    network.encoder.features.requires_grad_(False)
    assert {name.split(".")[1] for name in rates(network, OptimConfig())} == {
        "head",
        "weight",
        "bias",
    }


def test_optimisers_are_those_named() -> None:
    network = nn.Linear(2, 2)
    adam = build_optimizer(network, OptimConfig(name="adamw"))
    sgd = build_optimizer(network, OptimConfig(name="sgd", momentum=0.8))
    assert type(adam) is torch.optim.AdamW and type(sgd) is torch.optim.SGD
    assert not sgd.defaults["nesterov"]
    assert build_optimizer(network, OptimConfig(name="sgd", nesterov=True)).defaults["nesterov"]
    assert all(group["momentum"] == 0.8 for group in sgd.param_groups)


def test_one_cycle_rises_and_falls_as_two_half_cosines() -> None:
    factor = schedule(OptimConfig(schedule="one-cycle", warmup=0.25), 100)
    for step in range(101):
        if step < 25:
            expected = 1 / 25 + (1 - 1 / 25) * math.sin(math.pi / 2 * step / 25) ** 2
        else:
            expected = 1e-4 + (1 - 1e-4) * math.cos(math.pi / 2 * (step - 25) / 75) ** 2
        assert factor(step) == pytest.approx(expected)
    assert factor(0) == pytest.approx(0.04) and factor(25) == pytest.approx(1.0)


def test_one_cycle_is_torchs_of_the_same_shape() -> None:
    """Torch puts the peak a step earlier and ends a step earlier: 41 steps against our 40."""
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=1.0,
        total_steps=41,
        pct_start=11 / 41,
        div_factor=25,
        final_div_factor=1e4 / 25,
        cycle_momentum=False,
    )
    factor = schedule(OptimConfig(schedule="one-cycle", warmup=0.25), 40)
    for step in range(41):
        assert factor(step) == pytest.approx(theirs.get_last_lr()[0])
        optimizer.step()
        if step < 40:
            theirs.step()


@pytest.mark.parametrize("power", [0.9, 2.0])
def test_poly_falls_by_its_power(power) -> None:
    factor = schedule(OptimConfig(schedule="poly", warmup=0, power=power), 50)
    for step in range(50):
        assert factor(step) == pytest.approx(((50 - step) / 50) ** power)
    assert factor(50) == 0.0 and factor(60) == 0.0


def test_poly_can_warm_up() -> None:
    factor = schedule(OptimConfig(schedule="poly", warmup=0.1, power=1), 50)
    for step in range(50):
        assert factor(step) == pytest.approx(min(1, (step + 1) / 5) * (1 - step / 50))


def test_cyclic_rates_are_triangles_whose_bounds_are_halved() -> None:
    """Eight cycles of ten epochs with two steps each: bounds are halved every 20 epochs."""
    factor = schedule(OptimConfig(schedule="cyclic", cycles=8, low=0.05, halve_after=2), 160)
    turns = np.arange(0, 161, 10)  # half-cycles of five epochs
    for step in range(160):
        halved = 0.5 ** (step // 40)
        triangle = np.interp(step, turns, np.where(turns % 20, 1.0, 0.05))
        assert factor(step) == pytest.approx(halved * triangle)
    assert factor(10) == 1.0 and factor(50) == 0.5 and factor(40) == 0.025


def test_one_cycle_of_triangles_is_that_of_torch() -> None:
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    theirs = torch.optim.lr_scheduler.CyclicLR(
        optimizer, base_lr=0.05, max_lr=1.0, step_size_up=6, cycle_momentum=False
    )
    factor = schedule(OptimConfig(schedule="cyclic", cycles=3, halve_after=3), 36)
    for step in range(36):
        assert factor(step) == pytest.approx(theirs.get_last_lr()[0])
        optimizer.step()
        theirs.step()


@pytest.mark.parametrize("warmup", [0.0, 0.2, 0.99])
@pytest.mark.parametrize("name", ["one-cycle", "poly", "step", "cyclic", "constant"])
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_short_trainings_have_rates_in_range(name, warmup, steps) -> None:
    factor = schedule(OptimConfig(schedule=name, warmup=warmup), steps)
    assert all(0 <= factor(step) <= 1 for step in range(steps + 2))
    assert any(factor(step) > 0 for step in range(steps))


def test_steps_divide_the_rate_by_ten_at_each_drop() -> None:
    factor = schedule(OptimConfig(schedule="step", drops=(4 / 15, 9 / 15)), 15 * 7)
    rates_by_epoch = [factor(7 * epoch) for epoch in range(15)]
    assert rates_by_epoch == pytest.approx([1.0] * 4 + [0.1] * 5 + [0.01] * 6)
    assert factor(27) == 1.0 and factor(28) == pytest.approx(0.1)


def test_nesterov_is_passed_on() -> None:
    sgd = build_optimizer(nn.Linear(2, 2), OptimConfig(name="sgd", nesterov=True))
    assert all(group["nesterov"] for group in sgd.param_groups)
