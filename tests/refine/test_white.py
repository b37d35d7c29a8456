import numpy as np
from PIL import Image

from histoweak.refine.white import WhiteConfig, white_mask
from tests.refine.test_components import components


def test_white_is_what_pillow_sees_as_bright() -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    gray = np.asarray(Image.fromarray(image).convert("L")).astype(int)
    for level in (0, 100, 200, 255):
        found = white_mask(image, WhiteConfig(gray=level, min_pixels=0))
        certain = np.abs(gray - level) > 1  # Pillow rounds to whole grey values
        np.testing.assert_array_equal(found[certain], (gray > level)[certain])


def test_the_weights_are_those_of_the_standard() -> None:
    """ITU-R BT.601: 0.299 R + 0.587 G + 0.114 B; a grey pixel keeps its value."""
    for color, luma in (((255, 0, 0), 76.245), ((0, 255, 0), 149.685), ((0, 0, 255), 29.07)):
        image = np.full((1, 1, 3), color, np.uint8)
        assert white_mask(image, WhiteConfig(gray=int(luma), min_pixels=0)).all()
        assert not white_mask(image, WhiteConfig(gray=int(luma) + 1, min_pixels=0)).any()
    gray = np.full((1, 1, 3), 200, np.uint8)
    assert not white_mask(gray, WhiteConfig(gray=200, min_pixels=0)).any()
    assert white_mask(gray, WhiteConfig(gray=199, min_pixels=0)).all()


def test_small_white_spots_are_tissue_after_all() -> None:
    image = np.zeros((12, 12, 3), np.uint8)
    image[1:3, 1:3] = 255  # 4 pixels
    image[5:8, 5:8] = 255  # 9 pixels
    found = white_mask(image, WhiteConfig(gray=200, min_pixels=5))
    assert components(found) == [{(y, x) for y in range(5, 8) for x in range(5, 8)}]
