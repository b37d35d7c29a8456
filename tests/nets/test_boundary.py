import pytest
import torch
from torch import nn

from histoweak.classes import ClassSet
from histoweak.errors import ConfigError, WeightsError
from histoweak.inference.model import TissueModel, load_model
from histoweak.nets.boundary import BoundaryNet, BoundaryNetConfig
from histoweak.nets.cam_classifier import CamClassifier, ClassifierNetConfig
from histoweak.nets.freezing import freeze_stages
from histoweak.nets.taps import Taps
from tests.inference.models import picture

TINY = {"encoder": "test_resnet", "width": 8}


@pytest.mark.parametrize("encoder", ["test_resnet", "vgg16_bn"])
def test_output_has_the_size_that_the_stride_says(encoder) -> None:
    net = BoundaryNetConfig(encoder=encoder, vgg_width=0.02, width=8)
    for channels in (1, 3):
        out = BoundaryNet(net, channels)(torch.rand(2, 3, 64, 96))
        assert out.shape == (2, channels, 16, 24)


def test_stages_are_those_of_the_encoder() -> None:
    taps = Taps("vgg16_bn", vgg_width=0.02)(torch.rand(1, 3, 64, 64))
    assert [tap.shape[-1] for tap in taps] == [64, 32, 16, 8, 4]
    taps = Taps("test_resnet", stages=3)(torch.rand(1, 3, 64, 64))
    assert len(taps) == 3
    taps = Taps("resnet10t", output_stride=16)(torch.rand(1, 3, 64, 64))
    assert [tap.shape[-1] for tap in taps] == [32, 16, 8, 4, 4]


def test_encoder_is_frozen_and_the_rest_learns() -> None:
    network = BoundaryNet(BoundaryNetConfig(**TINY), 3).train()
    before = {k: v.clone() for k, v in network.encoder.state_dict().items()}
    assert network.training and not network.encoder.body.training
    network(torch.rand(2, 3, 64, 64)).sum().backward()
    for name, parameter in network.named_parameters():
        if name.startswith("encoder."):
            assert parameter.grad is None
        else:
            assert parameter.grad is not None, name
    after = network.encoder.state_dict()
    assert all(torch.equal(before[k], after[k]) for k in before)


def test_encoder_of_a_classifier_is_taken_over() -> None:
    torch.manual_seed(0)
    image = torch.rand(1, 3, 64, 64)
    for settings, stride in (
        ({"encoder": "test_resnet", "strides": (8, 32)}, 32),
        ({"encoder": "vgg16_bn", "vgg_width": 0.02}, 16),
    ):
        classifier = CamClassifier(ClassifierNetConfig(**settings), 2).eval()
        taps = Taps(settings["encoder"], vgg_width=settings.get("vgg_width", 1.0))
        taps.take(classifier.encoder)
        last = taps(image)[-1]
        expected = classifier.encoder(image)[-1]
        if stride == 16:  # VGG in CAM form has a convolution behind its stages
            expected, last = expected, classifier.encoder.head(last)
        assert torch.equal(last, expected)
    with pytest.raises(WeightsError, match=r"boundary\.encoder"):
        Taps("resnet10t").take(classifier.encoder)
    with pytest.raises(ConfigError, match="no-such-net"):
        Taps("no-such-net")


def test_saved_network_predicts_the_same_on_any_size(tmp_path) -> None:
    torch.manual_seed(0)
    net = BoundaryNetConfig(**TINY)
    network = BoundaryNet(net, 3)
    network.displacement.mean.copy_(torch.tensor([1.0, -2.0]))
    model = TissueModel(network, net, ClassSet(("boundary", "down", "right")), 1.5)
    model.save(tmp_path / "model")
    again = load_model(tmp_path / "model")
    for height, width in ((5, 7), (70, 33), (150, 130)):
        image = picture(height, width)
        maps = model.maps(image, tile=96)
        assert maps.shape == (3, -(-height // 4), -(-width // 4))
        assert (again.maps(image, tile=96) == maps).all()


def test_groups_of_the_normalisation_are_those_of_the_source() -> None:
    network = BoundaryNet(BoundaryNetConfig(encoder="resnet10t"), 3)
    groups = [(m.num_channels, m.num_groups) for m in network.reduce.modules() if isgroup(m)]
    assert groups == [(32, 4)] * 5
    branch = [(m.num_channels, m.num_groups) for m in network.displacement.modules() if isgroup(m)]
    assert branch == [(64, 8), (128, 16), *[(256, 16)] * 5]


def isgroup(module: nn.Module) -> bool:
    return isinstance(module, nn.GroupNorm)


def classifier(**settings) -> CamClassifier:
    return CamClassifier(ClassifierNetConfig(encoder="resnet10t", strides=(16,), **settings), 2)


def test_frozen_stages_get_no_gradient_and_later_ones_do() -> None:
    network = classifier(frozen=8, output_stride=16).train()
    network(torch.rand(2, 3, 64, 64)).sum().backward()
    for name, parameter in network.named_parameters():
        early = name.startswith(
            ("encoder.body.conv1", "encoder.body.bn1", "encoder.body.layer1", "encoder.body.layer2")
        )
        assert (parameter.grad is None) == early, name
    with pytest.raises(ConfigError, match="out of training"):
        classifier(frozen=32)
    vgg = CamClassifier(ClassifierNetConfig(vgg_width=0.02, frozen=2), 2)
    frozen = [name for name, p in vgg.named_parameters() if not p.requires_grad]
    assert len(frozen) == 8 and all(name.startswith("encoder.features") for name in frozen)
    with pytest.raises(ConfigError, match="out of training"):
        freeze_stages(nn.Linear(1, 1), 8)


def test_fixed_normalisation_keeps_its_statistics() -> None:
    for fixed in (False, True):
        network = classifier(fixed_norm=fixed).train()
        before = network.encoder.body.bn1.running_mean.clone() if not fixed else None
        norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
        kept = [m.running_mean.clone() for m in norms]
        network(torch.rand(2, 3, 64, 64))
        same = [torch.equal(k, m.running_mean) for k, m in zip(kept, norms, strict=True)]
        assert all(same) if fixed else not any(same), before
        assert all(m.weight.requires_grad for m in norms)


def test_output_stride_holds_the_resolution_with_and_without_dilation() -> None:
    def dilations(network: nn.Module) -> set[tuple[int, ...]]:
        return {m.dilation for m in network.modules() if isinstance(m, nn.Conv2d)}

    image = torch.rand(1, 3, 64, 64)
    dilated, plain = classifier(output_stride=16), classifier(output_stride=16, dilated=False)
    assert dilated(image).shape == plain(image).shape == (1, 2, 4, 4)
    assert dilations(dilated) == {(1, 1), (2, 2)} and dilations(plain) == {(1, 1)}
    assert classifier(bias=False).head.bias is None
