import pytest
import torch
from torch import nn

from histoweak.errors import ConfigError
from histoweak.nets.layer_classifier import LayerClassifier, LayerNetConfig
from histoweak.nets.resnet38d import ResNet38d
from histoweak.training.config import OptimConfig
from histoweak.training.optim import build_optimizer

NARROW = {"encoder": "resnet38d", "strides": (8,), "head": "last", "width_factor": 0.02}


def build(**settings) -> LayerClassifier:
    torch.manual_seed(0)
    return LayerClassifier(LayerNetConfig(**settings), 3)


@pytest.mark.parametrize(
    ("settings", "strides"),
    [
        (NARROW, (8, 8, 8)),
        ({"head": "last"}, (8, 16, 32)),
        ({"head": "fused", "width": 16}, (8, 16, 8)),
    ],
    ids=["resnet38d", "last", "fused"],
)
def test_layers_go_from_shallow_to_deep_and_maps_are_at_the_finest(settings, strides) -> None:
    network = build(**settings, layer_heads=True).eval()
    images = torch.rand(2, 3, 64, 96)
    layers = network.layers(images)
    assert [(64 // layer.shape[2], 96 // layer.shape[3]) for layer in layers] == [
        (s, s) for s in strides
    ]
    assert len(network.config.layers) == 3
    assert network(images).shape == (2, 3, 8, 12)
    assert [m.shape[2:] for m in network.all_maps(images)] == [layer.shape[2:] for layer in layers]


def test_enlarged_maps_keep_their_logits() -> None:
    network = build(head="last", attention="none").eval()
    images = torch.rand(2, 3, 64, 96)
    coarse = network.maps(network.layers(images)[-1])
    assert coarse.shape[2:] == (2, 3)
    torch.testing.assert_close(network(images).mean((2, 3)), coarse.mean((2, 3)))


def test_only_always_carries_attention_into_prediction() -> None:
    """As published the head predicts from a pass that it was not trained on (known defect)."""
    images = torch.rand(2, 3, 64, 64)
    plain, train, always = (
        build(**NARROW, attention=where).eval() for where in ("none", "train", "always")
    )
    assert plain(images).equal(train(images))
    assert not plain(images).allclose(always(images))
    last = always.layers(images)[-1]
    torch.testing.assert_close(always(images), always.maps(last, 1.0))
    # What training computes at mu = 1 is what prediction computes: nothing is dropped there.
    always.train(False)
    scores = always.head(last)
    attention = scores.relu().mean(1, keepdim=True)
    attention = attention / attention.mean((2, 3), keepdim=True)
    torch.testing.assert_close(always(images), attention * scores)


def test_frozen_normalisation_and_stem_stay_as_they_are() -> None:
    network = build(**NARROW, frozen="norm-and-stem").train()
    assert isinstance(network.encoder, ResNet38d)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    optimizer = build_optimizer(network, OptimConfig(name="sgd", lr=0.1, head_lr=10))
    network(torch.rand(4, 3, 32, 32)).square().mean().backward()
    optimizer.step()
    assert network.training
    changed = {k for k, v in network.state_dict().items() if not v.equal(before[k])}
    norms = {n for n, m in network.named_modules() if isinstance(m, nn.BatchNorm2d)}
    assert changed and not {k.rpartition(".")[0] for k in changed} & norms
    assert not any(k.startswith(("encoder.conv1a", "encoder.b2")) for k in changed)
    assert "head.weight" in changed and "encoder.b3.conv_branch2a.weight" in changed
    rates = {len(g["params"]): g["lr"] for g in optimizer.param_groups}
    assert rates[1] == 1.0 and min(rates.values()) == 0.1  # the head learns ten times as fast


def test_norm_alone_leaves_the_stem_free() -> None:
    free = [n for n, p in build(**NARROW, frozen="norm").named_parameters() if p.requires_grad]
    assert "encoder.conv1a.weight" in free and not any(".bn" in n for n in free)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"encoder": "resnet38d"}, r"strides = \(8, 16, 32\) with encoder resnet38d"),
        ({"encoder": "resnet38d", "strides": (8,)}, "head = 'fused' with encoder resnet38d"),
        ({"frozen": "norm"}, "frozen = 'norm' with encoder 'resnet18'"),
        ({"width_factor": 0.5}, "width_factor = 0.5 with encoder 'resnet18'"),
    ],
)
def test_settings_that_do_not_fit_the_encoder_are_refused(settings, message) -> None:
    with pytest.raises(ConfigError, match=message):
        build(**settings)


def test_without_normalisation_images_reach_the_encoder_as_they_are() -> None:
    network = build(**NARROW, normalise=False).eval()
    images = torch.rand(1, 3, 32, 32)
    assert network.layers(images)[0].equal(network.encoder(images)[0])
