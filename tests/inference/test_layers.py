import numpy as np
import pytest
import torch

from histoweak.inference.layers import LayerCams, layer_maps
from histoweak.inference.model import TissueModel
from histoweak.nets.layer_classifier import LayerClassifier, LayerNetConfig
from histoweak.objectives.pooling import box_mean
from tests.inference.models import CLASSES, classifier, picture


def model(**settings) -> TissueModel:
    torch.manual_seed(0)
    net = LayerNetConfig(
        **{"encoder": "resnet38d", "strides": (8,), "head": "last", "width_factor": 0.02}
        | {"attention": "none"}
        | settings
    )
    return TissueModel(LayerClassifier(net, len(CLASSES)), net, CLASSES)


def test_a_frame_of_one_window_has_the_grad_cam_of_the_window() -> None:
    """Grad-CAM by its definition from the mean over the window, layer by layer."""
    one = model()
    image = picture(48, 64)
    found, maps = layer_maps(one, image)
    np.testing.assert_allclose(maps, one.maps(image), atol=1e-6)
    network = one.network
    assert isinstance(network, LayerClassifier)
    tensor = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    box = torch.tensor([[0, 0, 0, 64, 48]])
    for layer in range(3):
        for k in range(len(CLASSES)):
            layers = network.layers(tensor)
            logit = box_mean(network.maps(layers[-1]), box, (1 / 8, 1 / 8))[0, k]
            (slope,) = torch.autograd.grad(logit, layers[layer])
            features = layers[layer].detach()
            cam = (slope.mean((2, 3), keepdim=True) * features).sum(1)[0] * slope[0, 0].numel()
            np.testing.assert_allclose(found[layer, k], cam, atol=2e-5)
    # The deepest layer needs no gradient: its Grad-CAM is the class map.
    np.testing.assert_allclose(found[-1], maps, atol=1e-6)


def test_windows_that_divide_a_frame_have_its_grad_cam_as_their_mean() -> None:
    """The logit of the frame is the mean of the windows' logits, and gradients are linear."""
    one = model()
    image = picture(64, 64)
    found, _ = layer_maps(one, image)
    network = one.network
    tensor = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    corners = [(x, y) for y in (0, 32) for x in (0, 32)]
    boxes = torch.tensor([[0, x, y, x + 32, y + 32] for x, y in corners])
    layers = network.layers(tensor)
    logits = box_mean(network.maps(layers[-1]), boxes, (1 / 8, 1 / 8))
    total = torch.zeros(8, 8)
    for window in range(4):
        (slope,) = torch.autograd.grad(logits[window, 0], layers[0], retain_graph=True)
        total += (slope.mean((2, 3), keepdim=True) * layers[0].detach()).sum(1)[0] * 64 / 4
    np.testing.assert_allclose(found[0, 0], total, atol=1e-5)


@pytest.mark.parametrize("settings", [{}, {"attention": "always"}, {"layer_heads": True}])
def test_orientations_and_tiles_agree_and_weights_stay_trainable(settings) -> None:
    one = model(**settings)
    image = picture(96, 96)
    turned, _ = layer_maps(one, np.rot90(image).copy(), tta="d4")
    upright, maps = layer_maps(one, image, tta="d4")
    np.testing.assert_allclose(turned, np.rot90(upright, axes=(2, 3)), atol=1e-4)
    np.testing.assert_allclose(maps, one.maps(image, tta="d4"), atol=1e-5)
    tiled, _ = layer_maps(one, image, tile=64)
    assert tiled.shape == upright.shape and np.isfinite(tiled).all()
    assert all(p.requires_grad for p in one.network.parameters())


def test_with_attention_the_deepest_grad_cam_goes_through_it() -> None:
    network = model(attention="always").network
    assert isinstance(network, LayerClassifier)
    images = torch.rand(1, 3, 64, 64)
    found = LayerCams(network.eval(), "mean")(images)
    layers = network.layers(images)
    logits = network.maps(layers[-1], 1.0).mean((2, 3))
    (slope,) = torch.autograd.grad(logits[0, 1], layers[-1])
    cam = (slope.mean((2, 3), keepdim=True) * layers[-1]).sum(1) * 64
    torch.testing.assert_close(found[0, 2 * 3 + 1], cam[0].detach())


def test_heads_of_layers_need_no_gradient() -> None:
    network = model(layer_heads=True).network
    assert isinstance(network, LayerClassifier)
    images = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        found = LayerCams(network.eval(), "mean")(images)
        own = network.layer_heads[1](network.layers(images)[1])
    torch.testing.assert_close(found[:, 3:6], own)


def test_other_models_have_no_layers() -> None:
    with pytest.raises(TypeError, match="expected a LayerClassifier, got CamClassifier"):
        layer_maps(classifier(), picture(32, 32))
