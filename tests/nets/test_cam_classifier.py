import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import nn
from torchvision.transforms.v2.functional import normalize

from histoweak.cams.cam import class_maps
from histoweak.nets.cam_classifier import CamClassifier, ClassifierNetConfig
from histoweak.nets.encoders import Encoder
from histoweak.nets.normalise import IMAGENET_MEAN, IMAGENET_STD, Normalise
from histoweak.objectives.pooling import box_mean

TINY = [
    ClassifierNetConfig(vgg_width=0.05),
    ClassifierNetConfig(vgg_width=0.05, strides=(8,)),
    ClassifierNetConfig(vgg_width=0.05, encoder="vgg16_bn", head="fused", width=8),
    ClassifierNetConfig(encoder="test_resnet", strides=(8, 16, 32)),
    ClassifierNetConfig(encoder="test_resnet", strides=(8, 32), head="fused", width=8),
]


@pytest.mark.parametrize("config", TINY)
def test_logits_are_those_of_pooling_before_a_linear_layer(config) -> None:
    torch.manual_seed(0)
    network = CamClassifier(config, 3).eval()
    linear = nn.Linear(network.head.in_channels, 3)
    nn.init.normal_(linear.weight)
    nn.init.normal_(linear.bias)
    with torch.no_grad():
        network.head.weight.copy_(linear.weight[:, :, None, None])
        network.head.bias.copy_(linear.bias)
        images = torch.rand(2, 3, 64, 64)
        features, maps = network.features(images), network(images)
        logits = linear(features.mean(dim=(2, 3)))
    side = 64 // config.strides[0]
    assert maps.shape == (2, 3, side, side)
    torch.testing.assert_close(maps.mean(dim=(2, 3)), logits, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(class_maps(features, linear.weight, linear.bias), maps)
    whole = torch.tensor([[0.0, 0, 0, 64, 64], [1.0, 0, 0, 64, 64]])
    pooled = box_mean(maps, whole, (1 / config.strides[0],) * 2)
    torch.testing.assert_close(pooled, logits, rtol=1e-4, atol=1e-4)


def test_maps_of_several_strides_lie_side_by_side_at_the_finest() -> None:
    torch.manual_seed(0)
    network = CamClassifier(TINY[3], 2).eval()
    images = torch.rand(1, 3, 64, 64)
    encoder: Encoder = network.encoder
    with torch.no_grad():
        fine, middle, coarse = encoder.body(normalize(images, IMAGENET_MEAN, IMAGENET_STD))
        up = [F.interpolate(m, fine.shape[-2:], mode="bilinear") for m in (middle, coarse)]
        torch.testing.assert_close(network.features(images), torch.cat([fine, *up], dim=1))


@pytest.mark.parametrize("strides", [(), (16, 8), (8, 8)])
def test_strides_ascend(strides) -> None:
    with pytest.raises(ValidationError):
        ClassifierNetConfig(encoder="test_resnet", strides=strides)


def test_images_are_normalised_as_torchvision_does() -> None:
    images = torch.rand(2, 3, 4, 5)
    expected = normalize(images, IMAGENET_MEAN, IMAGENET_STD)
    torch.testing.assert_close(Normalise()(images), expected)
    assert set(Normalise().state_dict()) == {"mean", "std"}
