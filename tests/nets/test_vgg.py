import pytest
import torch
import torch.nn.functional as F
import torchvision
from safetensors.torch import save_file
from torch import nn

from histoweak.errors import ConfigError, WeightsError
from histoweak.nets.vgg import VggCamEncoder

SMALL = 0.05


def count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(("stride", "side"), [(16, 14), (8, 28)])
def test_the_published_network_has_1024_maps_of_its_stride(stride, side) -> None:
    with torch.device("meta"):
        encoder = VggCamEncoder(stride)
        (maps,) = encoder(torch.zeros(2, 3, 224, 224))
    assert maps.shape == (2, 1024, side, side) and encoder.channels == (1024,)
    with torch.device("meta"):
        assert encoder(torch.zeros(1, 3, 320, 320))[0].shape[2] == 320 // stride


@pytest.mark.parametrize(("name", "batch_norm"), [("vgg16", False), ("vgg16_bn", True)])
def test_parameters_are_those_of_torchvision_and_one_convolution_more(name, batch_norm) -> None:
    with torch.device("meta"):
        theirs = getattr(torchvision.models, name)().features
        ours = VggCamEncoder(batch_norm=batch_norm)
    assert count(ours.features) == count(theirs)
    assert count(ours.head) == 512 * 1024 * 9 + 1024
    shapes = {k: v.shape for k, v in theirs.state_dict().items()}
    assert {k: v.shape for k, v in ours.features.state_dict().items()} == shapes


@pytest.mark.parametrize(
    ("stride", "field"),
    [
        # Up to conv4_3 the field of view is 92 px and a step is 8 px. Stride 16: pool4 adds 1
        # step of 8, conv5 3 x 2 and the new layer 2 steps of 16. Stride 8: pool4 (3 x 3) adds 2,
        # the dilated conv5 3 x 4 and the new layer 2 steps of 8.
        (16, 92 + 8 + 8 * 16),
        (8, 92 + 2 * 8 + 14 * 8),
    ],
)
def test_dilation_keeps_the_field_of_view(stride, field) -> None:
    encoder = VggCamEncoder(stride, width=SMALL)
    for i, module in enumerate(encoder.features):
        if isinstance(module, nn.MaxPool2d):  # the mean, so that every pixel has a gradient
            encoder.features[i] = nn.AvgPool2d(
                module.kernel_size, module.stride, module.padding, count_include_pad=False
            )
    for parameter in encoder.parameters():
        nn.init.constant_(parameter, 0.05)
    image = torch.ones(1, 3, 288, 288, dtype=torch.float64, requires_grad=True)
    (maps,) = encoder.double()(image)
    middle = maps.shape[-1] // 2
    maps[0, 0, middle, middle].backward()
    assert image.grad is not None
    seen = image.grad[0, 0] != 0
    assert int(seen.any(0).sum()) == int(seen.any(1).sum()) == field


def test_weights_with_the_names_of_torchvision_and_timm_fit(tmp_path) -> None:
    torch.manual_seed(0)
    theirs = torchvision.models.vgg16(init_weights=False).features
    state = {f"features.{k}": v for k, v in theirs.state_dict().items()}
    heads = ("classifier.0.weight", "pre_logits.fc1.weight", "head.fc.weight")
    save_file(state | {k: torch.zeros(2) for k in heads}, tmp_path / "vgg.safetensors")
    encoder = VggCamEncoder(16, weights=str(tmp_path / "vgg.safetensors"))
    image = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        expected = theirs[:30](image)
        torch.testing.assert_close(encoder.features(image), expected)
        (maps,) = encoder(image)
        conv = encoder.head[0]
        torch.testing.assert_close(
            maps, F.relu(F.conv2d(expected, conv.weight, conv.bias, padding=1))
        )


def test_weights_of_another_network_are_refused(tmp_path) -> None:
    path = tmp_path / "small.safetensors"
    state = VggCamEncoder(width=SMALL).features.state_dict()
    save_file({f"features.{k}": v for k, v in state.items()}, path)
    with pytest.raises(WeightsError, match=r"another shape for features\.0"):
        VggCamEncoder(weights=str(path))


def test_impossible_forms_are_refused() -> None:
    with pytest.raises(ConfigError, match="8 or 16"):
        VggCamEncoder(32)
    with pytest.raises(ConfigError, match="width"):
        VggCamEncoder(width=0.5, weights="x.safetensors")


def test_weights_that_cannot_be_fetched_say_what_to_do(monkeypatch) -> None:
    def offline(*args: object, **kwargs: object) -> None:
        raise ConnectionError("no network")

    monkeypatch.setattr("timm.create_model", offline)
    with pytest.raises(WeightsError, match=r"no network.*weights=null"):
        VggCamEncoder(weights="pretrained")
