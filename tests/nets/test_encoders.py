import pytest
import timm
import torch
from safetensors.torch import save_file

from histoweak.errors import ConfigError, WeightsError
from histoweak.nets.encoders import Encoder


@pytest.mark.parametrize(
    ("name", "strides"),
    [
        ("test_resnet", (8, 16, 32)),
        ("test_convnext", (4, 16)),
        ("test_efficientnet", (8,)),
        ("test_vit", (16,)),
    ],
)
def test_a_local_file_yields_the_maps_of_timms_own_network(tmp_path, name, strides) -> None:
    torch.manual_seed(0)
    whole = timm.create_model(name).eval()  # with its ImageNet head
    for parameter in whole.parameters():  # many begin as zeros or ones, which tells nothing
        torch.nn.init.normal_(parameter, std=0.1)
    save_file(whole.state_dict(), tmp_path / "w.safetensors")
    side = whole.default_cfg["input_size"][1]
    image = torch.rand(1, 3, side, side)
    encoder = Encoder(name, strides, str(tmp_path / "w.safetensors")).eval()
    with torch.no_grad():
        maps = encoder(image)
        deepest = {}
        for intermediate in whole.forward_intermediates(image, intermediates_only=True):
            deepest[side // intermediate.shape[-1]] = intermediate
    assert encoder.strides == strides and len(maps) == len(strides)
    for stride, channels, found in zip(strides, encoder.channels, maps, strict=True):
        assert found.shape == (1, channels, side // stride, side // stride)
        torch.testing.assert_close(found, deepest[stride])


@pytest.mark.parametrize(
    ("name", "strides"),
    [
        ("test_vit", (16,)),
        ("vit_tiny_patch16_224", (16,)),
        ("swin_tiny_patch4_window7_224", (8, 32)),
    ],
)
def test_transformers_take_images_of_any_size(name, strides) -> None:
    encoder = Encoder(name, strides).eval()
    with torch.no_grad():
        maps = encoder(torch.rand(1, 3, 96, 192))
    for stride, channels, found in zip(strides, encoder.channels, maps, strict=True):
        assert found.shape == (1, channels, 96 // stride, 192 // stride)


def test_patches_of_an_odd_size_need_images_that_they_divide() -> None:
    encoder = Encoder("eva02_tiny_patch14_224", (14,)).eval()
    with torch.no_grad():
        assert encoder(torch.rand(1, 3, 28, 56))[0].shape[2:] == (2, 4)
    with pytest.raises(ConfigError, match=r"96 x 28 pixels.*multiples of 14.*crop to 224"):
        encoder(torch.rand(1, 3, 28, 96))


def test_maps_with_channels_last_are_turned() -> None:
    """timm's own classifier of the same network is the oracle."""
    torch.manual_seed(0)
    encoder = Encoder("swin_tiny_patch4_window7_224", (32,)).eval()
    whole = timm.create_model("swin_tiny_patch4_window7_224").eval()
    places = {name.replace(".", "_"): name for name in whole.state_dict()}
    cut = {places[k.replace(".", "_")]: v for k, v in encoder.body.state_dict().items()}
    missing, _ = whole.load_state_dict(cut, strict=False)
    assert all(name.startswith(("head", "norm")) for name in missing)
    images = torch.rand(1, 3, 224, 224)
    with torch.no_grad():
        (deepest,) = encoder(images)
        *_, expected = whole.forward_intermediates(images, intermediates_only=True)
    torch.testing.assert_close(deepest, expected)


@pytest.mark.parametrize("name", ["nonsense", "", "resnet", "vgg16.nonsense", "http:x/y"])
def test_an_unknown_encoder_is_refused(name) -> None:
    with pytest.raises(ConfigError, match="encoder"):
        Encoder(name, (8,))


def test_a_near_miss_names_what_there_is() -> None:
    with pytest.raises(ConfigError, match=r"Try one of .*resnet"):
        Encoder("resnet17", (8,))


def test_a_stride_without_a_map_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"stride 64.*2, 4, 8, 16, 32"):
        Encoder("test_resnet", (8, 64))


def test_a_hub_without_network_is_no_traceback(monkeypatch) -> None:
    def offline(*args: object, **kwargs: object) -> None:
        raise FileNotFoundError("not in the cache")

    monkeypatch.setattr("timm.create_model", offline)
    with pytest.raises(WeightsError, match="cannot be fetched"):
        Encoder("hf-hub:owner/model", (8,))


def test_pretrained_without_network_says_what_to_do(monkeypatch) -> None:
    create = timm.create_model

    def offline(name: str, pretrained: bool = False, **options: object) -> object:
        if pretrained:
            raise RuntimeError("no network")
        return create(name, pretrained=False, **options)

    monkeypatch.setattr("timm.create_model", offline)
    with pytest.raises(WeightsError, match=r"no network.*weights=null"):
        Encoder("test_resnet", (8,), "pretrained")
