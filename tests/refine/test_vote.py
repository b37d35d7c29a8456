import numpy as np

from histoweak.refine.config import SuperpixelConfig
from histoweak.refine.superpixels import refine_superpixels, superpixels
from histoweak.refine.vote import vote_masks, vote_partition
from tests.inference.models import picture


def scores(k: int = 2, size=(12, 15)) -> np.ndarray:
    return np.random.default_rng(0).random((k, *size)).astype(np.float32)


def test_every_segment_takes_its_mean() -> None:
    before = scores()
    segments = np.random.default_rng(1).choice([0, 2, 5], (12, 15))  # numbers may be missing
    found = vote_partition(segments, before)
    for number in (0, 2, 5):
        for k in range(2):
            mean = before[k][segments == number].mean()
            np.testing.assert_allclose(found[k][segments == number], mean, rtol=1e-5)


def test_overlapping_masks_average_and_bare_pixels_keep_their_scores() -> None:
    before = scores(1)
    left, middle = np.zeros((12, 15), bool), np.zeros((12, 15), bool)
    left[:, :6] = middle[:, 4:9] = True
    found = vote_masks([left, middle, np.zeros((12, 15), bool)], before)[0]
    a, b = before[0][left].mean(), before[0][middle].mean()
    np.testing.assert_allclose(found[:, :4], a, rtol=1e-5)
    np.testing.assert_allclose(found[:, 4:6], (a + b) / 2, rtol=1e-5)
    np.testing.assert_allclose(found[:, 6:9], b, rtol=1e-5)
    np.testing.assert_array_equal(found[:, 9:], before[0, :, 9:])


def test_superpixels_are_about_as_wide_as_asked_and_follow_edges() -> None:
    image = np.full((60, 80, 3), 230, np.uint8)
    image[13:47, 21:66] = (120, 60, 140)
    inside = image[..., 0] == 120
    segments = superpixels(image, SuperpixelConfig(size=10, blur=0))
    assert 25 <= segments.max() + 1 <= 80
    mixed = [n for n in np.unique(segments) if 0.05 < inside[segments == n].mean() < 0.95]
    assert not mixed
    rough = np.clip(inside + np.random.default_rng(0).normal(0, 0.4, inside.shape), 0, 1)
    refined = refine_superpixels(image, rough[None].astype(np.float32), SuperpixelConfig(size=10))
    assert ((refined[0] > 0.5) == inside).mean() > 0.97 > ((rough > 0.5) == inside).mean()


def test_superpixels_of_one_image_are_always_the_same() -> None:
    image, config = picture(40, 50), SuperpixelConfig()
    assert np.array_equal(superpixels(image, config), superpixels(image, config))
    assert superpixels(image[:2, :2], config).shape == (2, 2)
