import pytest
import segmentation_models_pytorch as smp
import torch
from torchvision.transforms.v2.functional import normalize

from histoweak.errors import ConfigError, WeightsError
from histoweak.nets.normalise import IMAGENET_MEAN, IMAGENET_STD
from histoweak.nets.segmenters import Segmenter, SegmenterNetConfig

ENCODER = "tu-test_resnet"
DEEPLAB = SegmenterNetConfig(encoder=ENCODER, decoder_channels=16)


@pytest.mark.parametrize(
    "config",
    [
        DEEPLAB,
        SegmenterNetConfig(encoder=ENCODER, decoder_channels=16, output_stride=8),
        SegmenterNetConfig(encoder=ENCODER, architecture="Unet"),
    ],
)
@pytest.mark.parametrize("size", [(1, 1), (33, 50), (64, 32)])
def test_images_of_any_size_keep_it(config, size) -> None:
    with torch.no_grad():
        logits = Segmenter(config, 4).eval()(torch.rand(1, 3, *size))
    assert logits.shape == (1, 4, *size) and logits.isfinite().all()


def test_logits_are_those_of_the_library() -> None:
    torch.manual_seed(0)
    ours = Segmenter(DEEPLAB, 3).eval()
    theirs = smp.DeepLabV3Plus(ENCODER, encoder_weights=None, classes=3, decoder_channels=16)
    theirs.load_state_dict(ours.network.state_dict())
    image = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        expected = theirs.eval()(normalize(image, IMAGENET_MEAN, IMAGENET_STD))
        torch.testing.assert_close(ours(image), expected)
        # A size that does not halve evenly: the same as for the image with its border repeated.
        repeated = torch.cat([image[..., :90], image[..., 89:90].expand(-1, -1, -1, 6)], dim=-1)
        torch.testing.assert_close(ours(image[..., :90]), ours(repeated)[..., :90])


@pytest.mark.parametrize(
    "wrong",
    [
        {"architecture": "nonsense"},
        {"encoder": "nonsense"},
        {"encoder": "tu-nonsense"},
        {"weights": "nonsense"},
        {"output_stride": 12},
        {"architecture": "Unet", "decoder_channels": 16},
        {"architecture": "Unet", "atrous_rates": (6, 12, 18)},
        {"architecture": "FPN", "separable": False},
        {"architecture": "Unet", "output_stride": 16},
    ],
)
def test_what_the_library_does_not_know_is_a_config_error(wrong) -> None:
    with pytest.raises(ConfigError, match="segmenter"):
        Segmenter(SegmenterNetConfig(**wrong), 2)


@pytest.mark.parametrize(
    ("settings", "rates", "separable"),
    [
        ({}, [12, 24, 36], True),  # the library's own
        ({"atrous_rates": (6, 12, 18)}, [6, 12, 18], True),
        ({"atrous_rates": (6, 12, 18), "separable": False}, [6, 12, 18], False),
        ({"architecture": "DeepLabV3", "atrous_rates": (1, 2, 3)}, [1, 2, 3], False),
    ],
)
def test_the_pyramid_has_the_rates_of_the_settings(settings, rates, separable) -> None:
    network = Segmenter(SegmenterNetConfig(**DEEPLAB.model_dump() | settings), 2).network
    dilated = [m for m in network.decoder.modules() if getattr(m, "dilation", 1) not in (1, (1, 1))]
    three = [m.dilation for m in dilated]
    assert three == [(rate, rate) for rate in rates if rate > 1]
    assert {m.groups > 1 for m in dilated} == {separable}


def test_weights_that_cannot_be_fetched_say_what_to_do(monkeypatch) -> None:
    def offline(*args: object, **kwargs: object) -> None:
        raise ConnectionError("no network")

    monkeypatch.setattr("segmentation_models_pytorch.create_model", offline)
    with pytest.raises(WeightsError, match=r"no network.*weights=null"):
        Segmenter(SegmenterNetConfig(weights="imagenet"), 2)
