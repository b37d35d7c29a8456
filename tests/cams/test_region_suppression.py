import pytest
import torch
from torch import Tensor

from histoweak.cams.region_suppression import suppress


def by_autograd(maps: Tensor, control: float | Tensor, rectify: bool = True) -> Tensor:
    """The module as its paper states it, layer by layer."""
    rectified = maps.relu()
    peak = rectified.amax((2, 3), keepdim=True)
    ratio: float | Tensor = control
    if isinstance(control, Tensor):
        ratio = torch.sigmoid(rectified.mean((2, 3)) @ control.T)[:, :, None, None]
    return torch.minimum(rectified if rectify else maps, peak * ratio)


@pytest.fixture
def maps() -> Tensor:
    """Random maps; the first channel has no positive value."""
    values = torch.randn(3, 5, 7, 6, generator=torch.Generator().manual_seed(0)).double()
    values[:, 0] = -values[:, 0].abs() - 0.1
    return values


@pytest.fixture
def controller() -> Tensor:
    return torch.randn(5, 5, generator=torch.Generator().manual_seed(1)).double()


@pytest.mark.parametrize("rectify", [True, False])
@pytest.mark.parametrize("learned", [True, False])
def test_values_and_gradients_are_those_of_autograd(maps, controller, learned, rectify) -> None:
    results = []
    for function in (suppress, by_autograd):
        leaf = maps.clone().requires_grad_()
        control = controller.clone().requires_grad_() if learned else 0.55
        result = (
            function(leaf, control, rectify=rectify)
            if function is by_autograd
            else suppress(leaf, control, 1.0, rectify)
        )
        result.backward(torch.linspace(-1, 1, maps.numel()).view_as(maps).double())
        results.append((result, leaf.grad, control.grad if learned else torch.zeros(1)))
    for own, expected in zip(*results, strict=True):
        torch.testing.assert_close(own, expected)


def test_a_ratio_of_one_is_the_relu(maps) -> None:
    own, relu = maps.clone().requires_grad_(), maps.clone().requires_grad_()
    result = suppress(own, 1.0)
    assert torch.equal(result, relu.relu())
    result.square().sum().backward()
    relu.relu().square().sum().backward()
    assert torch.equal(own.grad, relu.grad)


def test_no_pixel_exceeds_its_share_of_the_peak(maps) -> None:
    result = suppress(maps, 0.55)
    expected = 0.55 * maps.relu().amax((2, 3))
    torch.testing.assert_close(result.amax((2, 3)), expected)
    unclipped = maps.relu() < expected[:, :, None, None]
    assert torch.equal(result[unclipped], maps.relu()[unclipped])


def test_learned_ratios_lie_between_none_and_all(maps, controller) -> None:
    ratio = suppress(maps, 100 * controller).amax((2, 3)) / maps.relu().amax((2, 3))
    ratio = ratio[:, 1:]  # the first channel has no peak
    assert ((ratio >= 0) & (ratio <= 1)).all() and (ratio < 0.1).any() and (ratio > 0.9).any()


@pytest.mark.parametrize("quantile", [0.5, 0.9, 0.99])
def test_a_quantile_in_place_of_the_peak(maps, quantile) -> None:
    result = suppress(maps, 0.8, quantile)
    for image, own in zip(maps.relu(), result, strict=True):
        for channel, clipped in zip(image, own, strict=True):
            ordered = sorted(channel.flatten().tolist())
            peak = next(v for n, v in enumerate(ordered, 1) if n >= quantile * len(ordered))
            torch.testing.assert_close(clipped, channel.clamp(max=0.8 * peak))


def test_a_pen_mark_moves_the_maximum_but_not_the_quantile() -> None:
    tissue = torch.rand(1, 1, 40, 40, generator=torch.Generator().manual_seed(0))
    marked = tissue.clone()
    marked[0, 0, 0, :4] = 50.0
    elsewhere = (slice(None), slice(None), slice(1, None))
    assert suppress(marked, 0.55)[elsewhere].equal(tissue[elsewhere])  # nothing is cut any more
    robust, plain = suppress(marked, 0.55, 0.99), suppress(tissue, 0.55, 0.99)
    torch.testing.assert_close(robust[elsewhere], plain[elsewhere], atol=0.01, rtol=0)


def test_quantile_gradients_are_those_of_finite_differences(maps, controller) -> None:
    few = maps[:1, :, :3, :3].clone().requires_grad_()
    control = controller.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda m, c: suppress(m, c, 0.7), (few, control))


def test_constant_maps_shrink_with_every_layer_of_a_fixed_ratio() -> None:
    maps = torch.ones(1, 2, 4, 4)
    for _ in range(16):
        maps = suppress(maps, 0.55)
    torch.testing.assert_close(maps, torch.full_like(maps, 0.55**16))


def test_without_gradients_the_same_comes_out(maps, controller) -> None:
    with torch.no_grad():
        plain = suppress(maps, controller, 0.9)
    assert torch.equal(plain, suppress(maps, controller.requires_grad_(), 0.9))
