import pytest
import torch
import torch.nn.functional as F
from torch import nn

from histoweak.config import build_config
from histoweak.errors import ConfigError
from histoweak.nets.histosegnet import HistoSegNet, HistoSegNetConfig

TINY = [
    HistoSegNetConfig(vgg_width=0.125),
    HistoSegNetConfig(vgg_width=0.125, pooling="mean"),
    HistoSegNetConfig(encoder="vgg16_bn", strides=(8,), vgg_width=0.02),
    HistoSegNetConfig(encoder="vgg16_bn", strides=(8,), vgg_width=0.02, pooling="mean"),
    HistoSegNetConfig(encoder="test_resnet", strides=(8, 16), head="fused", width=8),
    HistoSegNetConfig(encoder="test_resnet", strides=(8,), pooling="mean"),
]


def network(config: HistoSegNetConfig, n_classes: int = 3) -> HistoSegNet:
    """A network whose normalisation is not that of a fresh one; some scales are negative."""
    torch.manual_seed(0)
    made = HistoSegNet(config, n_classes)
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 0.3)
            nn.init.normal_(module.bias)
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return made.eval()


def test_the_published_network_has_as_many_parameters_as_its_authors_print() -> None:
    made = HistoSegNet(HistoSegNetConfig(), 51)
    # Keras counts the running means and variances of the normalisations among the parameters.
    buffers = [b for n, b in made.named_buffers() if n.rpartition(".")[2].startswith("running")]
    assert sum(v.numel() for v in (*made.parameters(), *buffers)) == 1_753_203


def test_the_published_network_is_conv_relu_norm_dropout_in_three_blocks() -> None:
    made = HistoSegNet(HistoSegNetConfig(dropout=0.5), 51)
    names = {nn.Conv2d: "c", nn.ReLU: "r", nn.BatchNorm2d: "b", nn.Dropout: "d", nn.MaxPool2d: "p"}
    order = "".join(names[type(layer)] for layer in made.encoder.layers)
    assert order == "crbd" + "crb" + "p" + "crbd" + "crb" + "p" + "crbd" + "crbd" + "cr"
    assert isinstance(made.norm, nn.BatchNorm2d) and isinstance(made.after, nn.MaxPool2d)
    with torch.no_grad():
        active = made.eval().activations(torch.rand(1, 3, 224, 224))
        assert active.shape == (1, 256, 56, 56) and active.min() == 0
        assert made.pooled_map(active).shape == (1, 256, 28, 28)
        assert made.maps(active).shape == (1, 51, 56, 56)


def test_the_later_network_is_vgg_16_without_its_last_two_poolings() -> None:
    made = HistoSegNet(HistoSegNetConfig(encoder="vgg16_bn", strides=(8,)), 3)
    plan = [
        layer.out_channels if isinstance(layer, nn.Conv2d) else "M"
        for layer in made.encoder.layers
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d)
    ]
    vgg_16 = [64, 64, "M", 128, 128, "M", 256, 256, 256, "M", *[512] * 3, "M", *[512] * 3, "M"]
    convolutions = [layer for layer in vgg_16[10:] if layer != "M"]
    assert plan == [*vgg_16[:10], *convolutions, 1024, 1024]
    assert made.head.in_features == 1024 and isinstance(made.after, nn.Dropout)


@pytest.mark.parametrize("config", TINY, ids=lambda c: f"{c.encoder}-{c.pooling}")
def test_maps_of_one_pass_are_those_of_grad_cam_by_autograd(config) -> None:
    made = network(config)
    images = torch.rand(2, 3, 64, 64)
    active = made.activations(images).detach().requires_grad_()
    logits = made.logits(made.pool(active))
    cells = active.shape[2] * active.shape[3]
    for c in range(3):
        (gradient,) = torch.autograd.grad(logits[:, c].sum(), active, retain_graph=True)
        alpha = gradient.mean(dim=(2, 3))  # one weight for each image and channel
        expected = torch.einsum("bc,bchw->bhw", alpha, active)
        assert expected.abs().max() > 1e-6
        torch.testing.assert_close(
            made(images)[:, c] / cells, expected, rtol=1e-4, atol=1e-6, check_dtype=False
        )


def test_logits_are_those_of_the_layers_in_their_published_order() -> None:
    made = network(TINY[0])
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        cells = F.max_pool2d(made.norm(made.encoder.layers(made.normalise(images))), 2)
        expected = F.linear(cells.flatten(2).max(dim=2).values, made.head.weight, made.head.bias)
        torch.testing.assert_close(made.logits(made.pool(made.activations(images))), expected)


def test_a_mean_pooled_stand_in_has_the_means_of_its_maps_for_logits() -> None:
    made = network(TINY[5])
    with torch.no_grad():
        active = made.activations(torch.rand(2, 3, 64, 64))
        means = made.maps(active).mean(dim=(2, 3)) + made.head.bias
        torch.testing.assert_close(made.logits(made.pool(active)), means)


def test_images_can_be_normalised_by_one_mean_for_all_channels() -> None:
    made = HistoSegNet(TINY[0].model_copy(update={"scalar_mean": 193.1, "scalar_std": 56.5}), 3)
    images = torch.rand(1, 3, 4, 4)
    torch.testing.assert_close(made.normalise(images), (images * 255 - 193.1) / 56.5)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"scalar_mean": 193.0}, "scalar_std"),
        ({"strides": (8,)}, r"\[4, 8\]"),
        ({"encoder": "vgg16_bn"}, r"\[8\]"),
        ({"weights": "pretrained"}, "histoweak pretrain"),
        ({"weights": "a.safetensors", "vgg_width": 0.5}, "vgg_width 1.0"),
    ],
)
def test_settings_that_do_not_fit_each_other_are_refused(wrong, said) -> None:
    with pytest.raises(ConfigError, match=said):  # before an image is decoded
        build_config(HistoSegNetConfig, wrong, "settings")
