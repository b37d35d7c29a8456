import torch

from histoweak.nets.cam_segmenter import CamSegmenter
from histoweak.nets.segmenters import SegmenterNetConfig

TINY = SegmenterNetConfig(encoder="tu-test_resnet", decoder_channels=16)


def test_the_decoder_is_that_of_the_segmenter_alone() -> None:
    network = CamSegmenter(TINY, 3).eval()
    images = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        logits, _ = network(images)
        torch.testing.assert_close(logits, network.segmenter(images))


def test_the_cam_is_linear_in_the_encoders_last_map() -> None:
    network = CamSegmenter(TINY, 3).eval()
    images = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        _, cam = network(images)
        last = network.segmenter.network.encoder(network.segmenter.normalise(images))[-1]
        weight, bias = network.head.weight[:, :, 0, 0], network.head.bias
        assert bias is not None and cam.shape == (2, 3, 4, 6)
        for y, x in ((0, 0), (3, 5)):
            expected = last[:, :, y, x] @ weight.T + bias
            torch.testing.assert_close(cam[:, :, y, x], expected)


def test_dropout_acts_on_the_cam_alone_and_in_training_alone() -> None:
    network = CamSegmenter(TINY, 3, dropout=0.9).eval()
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        still = network(images)
        network.dropout.train()
        dropped = network(images)
    torch.testing.assert_close(still[0], dropped[0])
    assert not torch.equal(still[1], dropped[1])


def test_both_sides_learn_through_one_encoder() -> None:
    network = CamSegmenter(TINY, 3)
    logits, cam = network(torch.rand(2, 3, 64, 64))
    stem = next(network.segmenter.network.encoder.parameters())
    for part in (logits, cam):
        (gradient,) = torch.autograd.grad(part.square().mean(), stem, retain_graph=True)
        assert (gradient != 0).any()


def test_one_image_is_a_batch() -> None:
    logits, cam = CamSegmenter(TINY, 2).eval()(torch.rand(1, 3, 32, 32))
    assert logits.shape == (1, 2, 32, 32) and cam.shape == (1, 2, 2, 2)


def test_published_size_of_the_network() -> None:
    """Encoder of the released code: maps 40@56 and 576@14 of B6, CAM of 14 x 14 at 224 pixels."""
    with torch.device("meta"):
        network = CamSegmenter(SegmenterNetConfig(encoder="efficientnet-b6", output_stride=16), 4)
        features = network.segmenter.encode(torch.rand(1, 3, 224, 224))
        shapes = [(f.shape[1], f.shape[2]) for f in features[1:]]
        assert shapes == [(56, 112), (40, 56), (72, 28), (200, 14), (576, 14)]
        assert network.head.weight.shape == (4, 576, 1, 1)
