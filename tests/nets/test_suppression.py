import pytest
import torch

from histoweak.nets.cam_classifier import CamClassifier, ClassifierNetConfig
from histoweak.nets.suppression import (
    RegionSuppression,
    SuppressedClassifier,
    SuppressedNetConfig,
    SuppressionConfig,
)
from histoweak.training.config import OptimConfig
from histoweak.training.optim import build_optimizer

LEARNED, FIXED = {"kind": "learnable"}, {"kind": "fixed", "ratio": 0.55}
RELU = {"kind": "fixed", "ratio": 1.0, "quantile": 1.0}


def layers(network: torch.nn.Module) -> list[RegionSuppression]:
    return [m for m in network.modules() if isinstance(m, RegionSuppression)]


def weights(network: torch.nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def test_vgg_carries_it_in_place_of_all_sixteen_relus_as_published() -> None:
    config = SuppressedNetConfig(suppression=LEARNED)
    with torch.device("meta"):
        network = SuppressedClassifier(config, 20)
        plain = SuppressedClassifier(SuppressedNetConfig(suppression=None), 20)
    assert len(layers(network)) == 16 and not layers(plain)
    assert not any(isinstance(m, torch.nn.ReLU) for m in network.modules())
    assert weights(network) - weights(plain) == 2_596_864


def test_320_pixels_give_maps_of_40_by_40() -> None:
    with torch.device("meta"):
        network = SuppressedClassifier(SuppressedNetConfig(), 20)
        assert network(torch.zeros(1, 3, 320, 320)).shape == (1, 20, 40, 40)


@pytest.mark.parametrize("head", ["linear", "fused"])
@pytest.mark.parametrize(
    ("encoder", "strides"), [("vgg16_bn", (8,)), ("test_resnet", (8, 16)), ("test_vit", (16,))]
)
def test_a_ratio_of_one_changes_nothing(encoder, strides, head) -> None:
    settings = {"encoder": encoder, "strides": strides, "head": head, "vgg_width": 0.05}
    one = SuppressedNetConfig(**settings, suppression=RELU)
    network = SuppressedClassifier(one, 3).eval()
    plain = CamClassifier(ClassifierNetConfig(**settings, vgg_head=one.vgg_head), 3).eval()
    plain.load_state_dict(network.state_dict())  # all other layers keep their names
    size = 160 if encoder == "test_vit" else 64
    images = torch.rand(2, 3, size, size)
    torch.testing.assert_close(network(images), plain(images), rtol=0, atol=0)


@pytest.mark.parametrize("kind", [LEARNED, FIXED])
def test_stages_of_other_encoders_end_with_it(kind) -> None:
    config = SuppressedNetConfig(
        encoder="test_resnet", strides=(8, 16, 32), head="fused", suppression=kind
    )
    network = SuppressedClassifier(config, 4)
    channels = [layer.controller.shape[0] for layer in layers(network) if kind is LEARNED]
    assert sorted(channels) == ([48, 96, 128, 128, 192] if kind is LEARNED else [])
    assert len(layers(network)) == 5  # two in the head
    maps = network(torch.rand(2, 3, 64, 64))
    maps.square().sum().backward()
    assert maps.shape == (2, 4, 8, 8)
    assert all(p.grad is not None for p in network.parameters())


def test_negative_values_of_stage_ends_stay() -> None:
    layer = RegionSuppression(1, SuppressionConfig(kind="fixed", ratio=0.5), rectify=False)
    maps = torch.tensor([[[[-3.0, 1.0], [2.0, 4.0]]]])
    assert layer(maps).flatten().tolist() == [-3.0, 1.0, 2.0, 2.0]


@pytest.mark.parametrize(
    ("side", "marked", "spared"), [(20, 1, True), (20, 3, False), (14, 1, False)]
)
def test_a_pen_mark_counts_for_as_little_as_its_area(side, marked, spared) -> None:
    """By default it may cover a two-hundredth of the map; on small maps no cell is that little."""
    torch.manual_seed(0)
    layer = RegionSuppression(1, SuppressionConfig(kind="fixed", ratio=0.5))
    tissue = torch.rand(1, 1, side, side)
    pen = tissue.clone()
    pen[0, 0, 0, :marked] = 1000
    elsewhere = layer(pen)[0, 0, 1:].max() / layer(tissue)[0, 0, 1:].max()
    assert (elsewhere < 1.05) == spared


def test_learned_ratios_start_near_one_half() -> None:
    torch.manual_seed(0)
    layer = RegionSuppression(64, SuppressionConfig())
    maps = torch.rand(2, 64, 8, 8)
    ratio = layer(maps).amax((2, 3)) / maps.amax((2, 3))
    assert (ratio - 0.5).abs().max() < 0.05


def test_controllers_learn_at_the_rate_of_new_layers() -> None:
    config = SuppressedNetConfig(encoder="vgg16_bn", vgg_width=0.05)
    network = SuppressedClassifier(config, 2)
    optimizer = build_optimizer(network, OptimConfig(lr=0.01, head_lr=10, bias_lr=2))
    rate = {id(p): g["lr"] for g in optimizer.param_groups for p in g["params"]}
    found = {name: rate[id(p)] for name, p in network.named_parameters()}
    controllers = [r for name, r in found.items() if name.endswith(".controller")]
    assert len(controllers) == 16 and set(controllers) == {0.1}
    assert found["encoder.features.0.weight"] == 0.01
    assert found["encoder.features.0.bias"] == 0.02
    assert found["head.weight"] == 0.1 and found["head.bias"] == 0.2
