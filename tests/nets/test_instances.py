import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import nn

from histoweak.classes import ClassSet
from histoweak.data.frames import Frame
from histoweak.errors import ConfigError
from histoweak.inference.model import TissueModel
from histoweak.nets.instances import InstanceNet, InstanceNetConfig
from histoweak.stages.scores import window_probs


def network(norm="group", stride=16):
    torch.manual_seed(0)
    net = InstanceNetConfig(encoder="test_resnet", side=32, strides=(stride,), norm=norm)
    return InstanceNet(net, 3).eval()


@pytest.mark.parametrize("stride", [8, 16, 32])
def test_maps_are_the_logits_of_squares_around_every_cell(stride):
    net, images = network(stride=stride), torch.rand(2, 3, 64, 32)
    maps = net(images)
    assert maps.shape == (2, 3, 64 // stride, 32 // stride)
    padded = F.pad(images, (16,) * 4, mode="replicate")
    for r in range(maps.shape[2]):
        for c in range(maps.shape[3]):
            y, x = (round((i + 0.5) * stride) for i in (r, c))
            square = padded[:, :, y : y + 32, x : x + 32]
            torch.testing.assert_close(maps[:, :, r, c], net.classify(square), rtol=1e-4, atol=1e-5)


def test_group_normalisation_treats_every_instance_on_its_own():
    net, instances = network().train(), torch.rand(5, 3, 32, 32)
    assert not [m for m in net.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    torch.testing.assert_close(net.classify(instances)[:2], net.classify(instances[:2]))
    tied = network("batch").train()
    assert not torch.allclose(tied.classify(instances)[:2], tied.classify(instances[:2]))


@pytest.mark.parametrize("negative", [0, 1, 2])
def test_a_negative_class_is_one_less_the_largest_of_the_others(negative):
    torch.manual_seed(0)
    net = InstanceNetConfig(encoder="test_resnet", side=32, strides=(16,), negative=negative)
    whole = InstanceNet(net, 3).eval()
    assert whole.head.out_features == 2
    probs = whole(torch.rand(2, 3, 64, 32)).sigmoid()
    rest = [k for k in range(3) if k != negative]
    assert whole.answering == rest
    torch.testing.assert_close(probs[:, negative], 1 - probs[:, rest].amax(1))
    # The most probable class is the negative one exactly where no other reaches a half.
    assert ((probs.argmax(1) == negative) == (probs[:, rest] < 0.5).all(1)).all()


def test_wrong_sizes_and_names():
    for side, stride in ((32, 48), (33, 16)):
        with pytest.raises(ValidationError, match="even number"):
            InstanceNetConfig(side=side, strides=(stride,))
    with pytest.raises(ConfigError, match="resnet1"):
        InstanceNet(InstanceNetConfig(encoder="resnet1"), 2)


def test_an_image_is_what_its_strongest_instance_is():
    net = InstanceNetConfig(encoder="test_resnet", side=32, strides=(16,))
    model = TissueModel(network(), net, ClassSet(("a", "b", "c")))
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    strongest = torch.from_numpy(model.maps(image)).amax((1, 2)).sigmoid()
    np.testing.assert_allclose(model.patch_probs(image), strongest, atol=1e-5)
    window = ((16.0, 16.0, 48.0, 48.0),)
    frame = Frame("a", "p", "s", "train", 64, 96, 0, None, window, ((1, 0, 1),), ("a.png",))
    inside = torch.from_numpy(model.maps(image))[:, 1:3, 1:3].amax((1, 2)).sigmoid()
    found = window_probs(model, model.maps(image), frame, image)[0]
    np.testing.assert_allclose(found, inside, atol=1e-5)
