"""A segmenter that begins with the encoder of a classifier."""

import pytest
import torch
from torch import nn

from histoweak.errors import ConfigError
from histoweak.nets.cam_classifier import CamClassifier, ClassifierNetConfig
from histoweak.nets.instances import InstanceNet, InstanceNetConfig
from histoweak.nets.segmenters import Segmenter, SegmenterNetConfig
from histoweak.nets.warm_start import take_encoder

K = 3


def segmenter(encoder: str) -> Segmenter:
    config = SegmenterNetConfig(encoder=encoder, architecture="Unet")
    return Segmenter(config, K).eval()


def classifier(encoder: str, *strides: int) -> CamClassifier:
    config = ClassifierNetConfig(encoder=encoder, strides=strides)
    network = CamClassifier(config, K).eval()
    for module in network.modules():  # statistics of their own, as after training
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-1, 1)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
    return network


@pytest.mark.parametrize(
    ("of_segmenter", "of_classifier"),
    [
        ("resnet18", "resnet18"),
        ("tu-test_resnet", "test_resnet"),
        ("tu-convnext_atto", "convnext_atto"),
    ],
)
def test_its_encoder_yields_the_maps_of_the_classifier(
    of_segmenter: str, of_classifier: str
) -> None:
    source, target = classifier(of_classifier, 8, 16), segmenter(of_segmenter)
    take_encoder(target, source)
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        theirs = source.encoder(source.normalise(images))
        ours = {tuple(m.shape): m for m in target.encode(images)}
    for maps in theirs:
        torch.testing.assert_close(ours[tuple(maps.shape)], maps)


def test_stages_that_the_classifier_lacks_stay_as_they_are() -> None:
    source, target = classifier("resnet18", 8), segmenter("resnet18")
    before = {name: w.clone() for name, w in target.body.state_dict().items()}
    take_encoder(target, source)
    after = target.body.state_dict()
    changed = {n.partition(".")[0] for n, w in after.items() if not torch.equal(w, before[n])}
    assert changed == {"conv1", "bn1", "layer1", "layer2"}


def test_a_whole_network_of_instances_serves_as_well() -> None:
    config = InstanceNetConfig(encoder="resnet18", side=32, strides=(16,), norm="batch")
    source = InstanceNet(config, K)
    target = segmenter("resnet18")
    take_encoder(target, source)
    for name, weight in source.encoder.state_dict().items():
        assert torch.equal(target.body.state_dict()[name], weight), name


@pytest.mark.parametrize("encoder", ["mobilenet_v2", "resnet34"])
def test_another_encoder_is_refused(encoder: str) -> None:
    with pytest.raises(ConfigError, match=rf"{encoder}.*the same encoder in classifier.net"):
        take_encoder(segmenter(encoder), classifier("resnet18", 8))


def test_another_normalisation_is_refused() -> None:
    config = InstanceNetConfig(encoder="resnet18", side=32, strides=(16,), norm="group")
    with pytest.raises(ConfigError, match="differ in 'bn1_num_batches_tracked'"):
        take_encoder(segmenter("resnet18"), InstanceNet(config, K))
