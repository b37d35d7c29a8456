import numpy as np
import pytest
import torch
import torch.nn.functional as F

from histoweak.cams.dropout_attention import (
    DropoutAttentionConfig,
    dropout_attention,
    threshold_share,
)
from histoweak.nets.layer_classifier import LayerClassifier, LayerNetConfig

PAPER = DropoutAttentionConfig(epoch=10)
CODE = DropoutAttentionConfig(form="code", sigma=0.98, epoch=10)


def maps(seed: int = 0) -> torch.Tensor:
    return torch.randn(3, 4, 5, 6, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("mu", [1.0, 0.9, 0.5])
def test_attention_is_that_of_a_loop_over_classes_and_pixels(mu) -> None:
    values = maps()
    expected = torch.zeros(3, 1, 5, 6)
    for b in range(3):
        for k in range(4):
            positive = [[max(0.0, float(v)) for v in row] for row in values[b, k]]
            limit = torch.tensor(mu) * max(v for row in positive for v in row)
            for y, x in np.ndindex(5, 6):
                value = positive[y][x]
                # A value at the limit stays: at mu = 1 nothing is dropped.
                expected[b, 0, y, x] += (value if value <= limit else 0) / 4
    torch.testing.assert_close(dropout_attention(values, mu), expected)


def test_at_one_nothing_is_dropped_and_below_it_every_maximum_is() -> None:
    values = maps()
    torch.testing.assert_close(
        dropout_attention(values, 1.0), values.relu().mean(1, keepdim=True), rtol=0, atol=0
    )
    lone = values[:, :1]
    peak = lone.flatten(1).argmax(1)
    dropped = dropout_attention(lone, 0.99).flatten(1)
    assert (dropped[torch.arange(3), peak] == 0).all()


def test_scaled_attention_has_mean_one_even_without_any_evidence() -> None:
    scaled = dropout_attention(maps(), 0.8, normalise=True)
    torch.testing.assert_close(scaled.mean((1, 2, 3)), torch.ones(3))
    none = dropout_attention(-torch.ones(1, 2, 3, 3), 0.8, normalise=True)
    assert (none == 1).all()


def values(config: DropoutAttentionConfig, *epochs: int) -> list[float | None]:
    found = [threshold_share(config, epoch * 10 + 9, 10_000) for epoch in epochs]
    return [None if mu is None else round(mu, 3) for mu in found]


def test_schedules_of_the_paper_and_of_the_code() -> None:
    assert values(PAPER, 0, 2, 3, 10, 19) == [1.0, 1.0, 0.985, 0.886, 0.773]
    assert values(CODE, 0, 2, 3, 10, 19) == [None, None, 0.941, 0.817, 0.681]
    after = threshold_share(CODE, 200, 10_000)
    assert after is not None and round(after, 5) == 0.66761  # what the released code prints


def test_the_floor_holds_the_paper_and_ends_the_fall_of_the_code() -> None:
    assert values(PAPER, 500) == [0.65]
    mu, falls = 1.0, 0
    while mu > 0.65:
        mu, falls = mu * 0.98, falls + 1
    last = threshold_share(CODE, 10 * falls, 10_000)
    assert last == pytest.approx(mu) and mu < 0.65
    assert threshold_share(CODE, 9_999, 10_000) == pytest.approx(mu)


def test_an_epoch_is_a_twentieth_of_the_training_unless_said() -> None:
    config = DropoutAttentionConfig()
    assert [threshold_share(config, s, 400) for s in (0, 59, 60)] == [1.0, 1.0, 0.985]
    assert threshold_share(config, 3, 5) == 0.985  # shorter than twenty steps: each is an epoch


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_scaling_class_maps_is_scaling_features(dropout) -> None:
    """Han et al.: m~ = A m, dropout of channels, average, linear; with gradients everywhere."""
    torch.manual_seed(0)
    config = LayerNetConfig(
        encoder="resnet38d", strides=(8,), head="last", width_factor=0.02, dropout=dropout,
        attention="train", scale_attention=False,
    )  # fmt: skip
    network = LayerClassifier(config, 4).train()
    features = torch.rand(2, network.encoder.channels[-1], 5, 6, requires_grad=True)
    weight = network.head.weight

    def published() -> torch.Tensor:
        torch.manual_seed(1)
        flat = weight.flatten(1)
        maps = torch.einsum("kc,bchw->bkhw", flat, features).relu()
        attention = torch.zeros(2, 1, 5, 6)
        for k in range(4):
            limit = 0.8 * maps[:, k].amax((1, 2), keepdim=True)
            attention = attention + (maps[:, k] * (maps[:, k] <= limit))[:, None] / 4
        dropped = F.dropout2d(attention * features, dropout)
        return F.conv2d(dropped.mean((2, 3), keepdim=True), weight).flatten(1)

    def ours() -> torch.Tensor:
        torch.manual_seed(1)
        return network.maps(features, 0.8).mean((2, 3))

    torch.testing.assert_close(ours(), published())
    inputs = [features, weight]
    for found, expected in zip(
        torch.autograd.grad(ours().square().sum(), inputs),
        torch.autograd.grad(published().square().sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(found, expected)
