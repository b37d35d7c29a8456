import numpy as np
import pytest
import torch
from skimage.color import rgb_from_hed

from histoweak.data.stain import jitter_stain

# Ruifrok & Johnston (2001): rows are what haematoxylin, eosin and DAB absorb of R, G and B.
ABSORBED = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])


def images(seed: int = 0) -> torch.Tensor:
    """Pixels of 1/255 and brighter: black has no finite density."""
    random = np.random.default_rng(seed)
    return torch.from_numpy(random.integers(1, 256, (3, 3, 8, 9)) / 255).float()


def test_without_change_images_stay() -> None:
    still = torch.tensor([[1.0, 1, 1, 0, 0, 0]]).repeat(3, 1)
    torch.testing.assert_close(jitter_stain(images(), still), images(), rtol=0, atol=1e-3)


def test_the_matrix_is_that_of_the_paper() -> None:
    np.testing.assert_allclose(ABSORBED, rgb_from_hed)


def test_stains_are_changed_as_by_deconvolution_pixel_by_pixel() -> None:
    random = np.random.default_rng(1)
    stain = np.concatenate([random.uniform(0.7, 1.3, (3, 3)), random.uniform(-0.1, 0.1, (3, 3))], 1)
    original = images()
    found = jitter_stain(original, torch.from_numpy(stain).float())
    for b, y, x in np.ndindex(3, 8, 9):
        pixel = original[b, :, y, x].double().numpy()
        amounts = np.linalg.solve(ABSORBED.T, -np.log(pixel))  # h, e, d that absorb so much
        changed = amounts * stain[b, :3] + stain[b, 3:]
        expected = np.exp(-(ABSORBED.T @ changed)).clip(0, 1)
        np.testing.assert_allclose(found[b, :, y, x], expected, atol=2e-4)


@pytest.mark.parametrize("channel", [0, 1, 2])
def test_more_of_one_stain_absorbs_as_that_stain_does(channel) -> None:
    """White glass with 0.5 of one stain added has the colour of 0.5 of it."""
    stain = torch.tensor([[1.0, 1, 1, 0, 0, 0]])
    stain[0, 3 + channel] = 0.5
    found = jitter_stain(torch.ones(1, 3, 1, 1), stain)[0, :, 0, 0]
    np.testing.assert_allclose(found, np.exp(-0.5 * ABSORBED[channel]), atol=1e-5)


def test_the_result_stays_in_range_even_for_black_and_white() -> None:
    extreme = torch.cat([torch.zeros(1, 3, 2, 2), torch.ones(1, 3, 2, 2)])
    stain = torch.tensor([[2.0, 0.1, 3, 1, -1, 1], [0.1, 2, 0.1, -1, 1, -1]])
    found = jitter_stain(extreme, stain)
    assert found.isfinite().all() and found.min() >= 0 and found.max() <= 1
