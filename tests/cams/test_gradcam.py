"""Grad-CAM of several layers against one forward and one full backward per layer and class."""

import pytest
import torch
from torch import nn

from histoweak.cams.gradcam import grad_cams
from histoweak.nets.layer_classifier import LayerClassifier, LayerNetConfig

RESNET38D = {"encoder": "resnet38d", "strides": (8,), "head": "last", "width_factor": 0.02}


def network(**settings) -> LayerClassifier:
    torch.manual_seed(0)
    config = LayerNetConfig(attention="none", **settings)
    return LayerClassifier(config, 3).double().eval()


def naive(net: LayerClassifier, image: torch.Tensor, layer: int, k: int) -> torch.Tensor:
    """Selvaraju et al., equations 1 and 2, channel by channel; image (1, 3, H, W)."""
    layers = net.layers(image)
    logit = net.head(layers[-1]).mean((2, 3))[0, k]
    (slope,) = torch.autograd.grad(logit, layers[layer])
    total = torch.zeros(layers[layer].shape[2:], dtype=image.dtype)
    for channel in range(slope.shape[1]):
        total += slope[0, channel].mean() * layers[layer][0, channel]
    return total.detach()


@pytest.mark.parametrize(
    "settings",
    [
        RESNET38D,
        {"encoder": "resnet18", "strides": (8, 16, 32), "head": "last"},
        {"encoder": "resnet18", "strides": (8, 16, 32), "head": "fused", "width": 16},
    ],
    ids=["resnet38d", "timm-last", "timm-fused"],
)
def test_it_equals_the_loop(settings) -> None:
    net = network(**settings)
    images = torch.rand(2, 3, 64, 64, dtype=torch.float64)
    layers = net.layers(images.requires_grad_())
    logits = net.head(layers[-1]).mean((2, 3))
    found = grad_cams(layers, logits, "mean", net.head.weight.flatten(1))
    assert len(found) == len(net.config.layers) == 3
    for layer, cams in enumerate(found):
        assert not cams.requires_grad
        for b in range(2):
            for k in range(3):
                expected = naive(net, images[b : b + 1], layer, k)
                torch.testing.assert_close(cams[b, k], expected)


@pytest.mark.parametrize("gradient", ["mean", "local"])
def test_the_known_gradient_of_the_head_is_the_computed_one(gradient) -> None:
    net = network(**RESNET38D)
    images = torch.rand(2, 3, 64, 64, dtype=torch.float64, requires_grad=True)

    def cams(head: torch.Tensor | None) -> list[torch.Tensor]:
        layers = net.layers(images)
        return grad_cams(layers, net.head(layers[-1]).mean((2, 3)), gradient, head)

    known, computed = cams(net.head.weight.flatten(1)), cams(None)
    for one, other in zip(known, computed, strict=True):
        torch.testing.assert_close(one, other)
    maps = net.head(net.layers(images)[-1]).detach()
    torch.testing.assert_close(known[-1] * 64, maps)  # 8 x 8 pixels at stride 8


def test_local_gradients_account_for_the_logit_of_a_network_without_shifts() -> None:
    """A ReLU network without biases is homogeneous: its slopes times its features add up to it."""
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(3, 5, 3, bias=False), nn.ReLU(), nn.Conv2d(5, 2, 3, bias=False))
    features = torch.rand(2, 3, 9, 9, requires_grad=True)
    logits = body(features).mean((2, 3))
    (cam,) = grad_cams([features], logits, "local")
    torch.testing.assert_close(cam.sum((2, 3)), logits.detach())
