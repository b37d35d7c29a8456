import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from histoweak.refine.config import WalkRefinerConfig
from histoweak.refine.edge_walk import edges, refine_walk
from tests.inference.models import picture


def halves() -> tuple[torch.Tensor, torch.Tensor]:
    """A dark left half beside a bright one, and scores that are wrong in one pixel of each."""
    images = torch.full((1, 3, 20, 30), 0.9)
    images[..., :15] = 0.3
    scores = torch.zeros(1, 2, 20, 30)
    scores[:, 0, :, :15] = scores[:, 1, :, 15:] = 1
    scores[:, :, 10, 5] = torch.tensor([0.0, 1.0])
    scores[:, :, 10, 25] = torch.tensor([1.0, 0.0])
    return images, scores


def test_scores_agree_up_to_the_edge_and_not_beyond() -> None:
    images, scores = halves()
    walked = refine_walk(images, scores, WalkRefinerConfig(blur=0))
    assert (walked[0].argmax(dim=0)[:, :15] == 0).all()
    assert (walked[0].argmax(dim=0)[:, 15:] == 1).all()
    torch.testing.assert_close(walked.sum(dim=1), torch.ones(1, 20, 30))
    # Each half has lost one pixel of 300 to the other class, and gets none from the other half.
    for inside in (walked[0, 1, :, :13], walked[0, 0, :, 17:]):
        assert float(inside.max()) < 0.05 and float(inside.sum()) == pytest.approx(1, rel=0.3)


def test_without_edges_scores_flow_together() -> None:
    scores = halves()[1][:, :, :12, 8:22]
    walked = refine_walk(torch.full((1, 3, 12, 14), 0.5), scores, WalkRefinerConfig(steps=256))
    np.testing.assert_allclose(walked, 0.5, atol=0.02)


@pytest.mark.parametrize("shrink", [1, 2])
def test_edges_are_gradients_of_optical_density(shrink) -> None:
    image = picture(40, 50)
    config = WalkRefinerConfig(blur=0, shrink=shrink, strongest=0.9)
    found = edges(torch.from_numpy(image.copy()).permute(2, 0, 1)[None] / 255, config)[0].numpy()
    density = -np.log(np.maximum(image / 255, 1 / 255))
    cells = density.reshape(40 // shrink, shrink, 50 // shrink, shrink, 3).mean(axis=(1, 3))
    slopes = np.stack([np.gradient(cells, axis=axis) for axis in (0, 1)])
    strength = np.sqrt((slopes**2).sum(axis=(0, 3)))
    expected = np.minimum(strength / np.quantile(strength, 0.9), 1)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_blur_leaves_single_pixels_no_edge() -> None:
    rng = np.random.default_rng(0)
    noise = rng.random((64, 64, 3)).astype(np.float32) * 0.2 + 0.4
    noise[:, 32:] += 0.3
    images = torch.from_numpy(noise).permute(2, 0, 1)[None]
    found = edges(images, WalkRefinerConfig(blur=3, strongest=1.0))[0]
    assert found[:, 30:34].mean() > 3 * found[:, :24].mean()
    density = gaussian_filter(-np.log(noise), (3, 3, 0))
    slopes = np.stack([np.gradient(density, axis=axis) for axis in (0, 1)])
    strength = np.sqrt((slopes**2).sum(axis=(0, 3)))
    inner = slice(12, -12)
    ratio = found.numpy()[inner, inner] / strength[inner, inner]
    assert ratio.std() / ratio.mean() < 0.05


def test_any_size_and_white_stay() -> None:
    images, scores = torch.rand(2, 3, 1, 7), torch.rand(2, 3, 1, 7)
    scores[:, :, :, 3] = 0
    walked = refine_walk(images, scores, WalkRefinerConfig(shrink=2))
    assert walked.shape == scores.shape and (walked[..., 3] == 0).all()
    assert float(walked.min()) >= 0 and float(walked.max()) <= 1
