import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from histoweak.errors import ConfigError, WeightsError
from histoweak.nets.resnet38d import Bottleneck, PlainBlock, ResNet38d

SMALL = 0.02


def test_weights_and_multiplications_are_those_of_the_published_network() -> None:
    with torch.device("meta"):
        network = ResNet38d()
    total = 0

    def count(layer: nn.Module, _: tuple[Tensor, ...], out: Tensor) -> None:
        nonlocal total
        total += out.numel() * layer.weight[0].numel()

    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    for layer in convolutions:
        assert layer.bias is None
        layer.register_forward_hook(count)
    taps = network(torch.empty(1, 3, 224, 224, device="meta"))
    assert [tuple(t.shape[1:]) for t in taps] == [(512, 28, 28), (1024, 28, 28), (4096, 28, 28)]
    assert round(total / 1e9, 1) == 99.8
    assert round(sum(c.weight.numel() for c in convolutions) / 1e6, 1) == 105.0
    assert len(convolutions) == 1 + 2 * 15 + 4 + 2 * 4  # stem, plain blocks, shortcuts, bottlenecks


def test_blocks_are_those_written_out() -> None:
    torch.manual_seed(0)
    plain = PlainBlock(3, 4, 5, 2, (1, 2)).eval()
    x = torch.randn(2, 3, 8, 8)
    a = F.relu(F.batch_norm(x, torch.zeros(3), torch.ones(3)))
    inner = F.relu(
        F.batch_norm(
            F.conv2d(a, plain.conv_branch2a.weight, stride=2, padding=1),
            torch.zeros(4),
            torch.ones(4),
        )
    )
    expected = F.conv2d(inner, plain.conv_branch2b1.weight, padding=2, dilation=2)
    expected = expected + F.conv2d(a, plain.conv_branch1.weight, stride=2)
    torch.testing.assert_close(plain(x), expected)
    same = PlainBlock(5, 4, 5, 1, (2, 2)).eval()
    assert not hasattr(same, "conv_branch1")
    nn.init.zeros_(same.conv_branch2b1.weight)
    y = torch.randn(1, 5, 6, 6)
    assert same(y).equal(y)  # the shortcut carries what was not activated
    last = Bottleneck(5, 8, 0.5)
    assert [last.conv_branch2a.out_channels, last.conv_branch2b1.out_channels] == [2, 4]
    assert last.conv_branch2b1.dilation == (4, 4) and last.dropout.p == 0.5


def test_bottlenecks_are_those_written_out() -> None:
    torch.manual_seed(0)
    block = Bottleneck(5, 8, 0.5).eval()
    norms = [block.bn_branch2a, block.bn_branch2b1, block.bn_branch2b2]
    for norm in norms:
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    x = torch.randn(2, 5, 9, 9)
    scale = (1 + norms[0].eps) ** -0.5  # of normalisation with mean 0 and variance 1

    def active(values: Tensor, norm: nn.BatchNorm2d) -> Tensor:
        weight, bias = norm.weight[:, None, None], norm.bias[:, None, None]
        return (values * scale * weight + bias).clamp(min=0)

    first = active(x, norms[0])
    inner = active(F.conv2d(first, block.conv_branch2a.weight), norms[1])
    inner = F.conv2d(inner, block.conv_branch2b1.weight, padding=4, dilation=4)
    inner = F.conv2d(active(inner, norms[2]), block.conv_branch2b2.weight)
    expected = inner + F.conv2d(first, block.conv_branch1.weight)
    torch.testing.assert_close(block(x), expected)
    dropped: list[int] = []
    block.dropout.register_forward_hook(lambda _, given, __: dropped.append(given[0].shape[1]))
    block.train()(x)
    assert dropped == [2, 4]  # before the last two convolutions


def test_stages_behind_the_fourth_dilate_but_for_their_first_convolution() -> None:
    network = ResNet38d(SMALL)
    found = {n: m.dilation[0] for n, m in network.named_modules() if isinstance(m, nn.Conv2d)}
    dilated = {name: dilation for name, dilation in found.items() if dilation > 1}
    assert dilated == {
        "b5.conv_branch2b1": 2,
        "b5_1.conv_branch2a": 2,
        "b5_1.conv_branch2b1": 2,
        "b5_2.conv_branch2a": 2,
        "b5_2.conv_branch2b1": 2,
        "b6.conv_branch2b1": 4,
        "b7.conv_branch2b1": 4,
    }


def test_the_last_tap_is_activated_and_training_can_reach_everything() -> None:
    network = ResNet38d(SMALL)
    taps = network(torch.rand(2, 3, 64, 64))
    assert [t.shape[2] for t in taps] == [8, 8, 8] and (taps[-1] >= 0).all()
    assert (taps[0] < 0).any() and [t.shape[1] for t in taps] == list(network.channels)
    taps[-1].mean().backward()
    assert all(p.grad is not None for p in network.parameters())
    named = {n for n, m in network.named_children() if m in network.stem()}
    assert named == {"conv1a", "b2", "b2_1", "b2_2"}


def test_weights_come_from_safetensors_of_width_one_alone(tmp_path, monkeypatch) -> None:
    with pytest.raises(ConfigError, match="Leave one of the two out"):
        ResNet38d(SMALL, "x.safetensors")
    with pytest.raises(ConfigError, match="histoweak convert resnet38d"):
        ResNet38d(1.0, "pretrained")
    path = tmp_path / "part.safetensors"
    save_file({"conv1a.weight": torch.zeros(1)}, path)
    with torch.device("meta"), pytest.raises(WeightsError, match="misses"):
        ResNet38d(1.0, str(path))
