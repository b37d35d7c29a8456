import math

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from histoweak.classes import ClassSet
from histoweak.errors import ConfigError
from histoweak.refine.adjust import (
    AdjustConfig,
    BackgroundConfig,
    OtherConfig,
    adjust,
    background,
    margins,
    require_names,
    subtract_in_place,
    white_level,
)

CLASSES = ClassSet(("gland", "vessel", "fat"))
PLAIN = AdjustConfig(background=None, subtract="none")


def pixel(*values: float) -> np.ndarray:
    return np.array(values, np.float32)[:, None, None]


def gray(value: int, side: int = 1) -> np.ndarray:
    return np.full((side, side, 3), value, np.uint8)


def test_in_place_subtraction_flips_the_winner_as_the_released_code_does() -> None:
    found = subtract_in_place(pixel(0.6, 0.5, 0.1), 3)
    np.testing.assert_allclose(found[:, 0, 0], [0.1, 0.4, 0], atol=1e-6)
    np.testing.assert_allclose(margins(pixel(0.6, 0.5, 0.1))[:, 0, 0], [0.1, 0, 0], atol=1e-6)


def test_in_place_values_below_zero_are_cut_off_in_the_end_only() -> None:
    # By hand: -0.6, then 0.6 - 0.3 = 0.3, then 0.3 - 0.3 = 0; and for a last map without rivals
    # 0 - 0.2 = -0.2, then 0.2 - -0.2 = 0.4.
    found = subtract_in_place(pixel(0.0, 0.6, 0.3), 3)
    np.testing.assert_allclose(found[:, 0, 0], [0, 0.3, 0], atol=1e-6)
    found = subtract_in_place(pixel(0.0, 0.2), 2)
    np.testing.assert_allclose(found[:, 0, 0], [0, 0.4], atol=1e-6)
    assert subtract_in_place(pixel(0.7), 1).item() == pytest.approx(0.7)


def test_in_place_background_comes_before_the_classes_as_in_the_released_code() -> None:
    # Half of the height at the level itself. By hand, with 0.05 (1 - 0.375) of other tissue:
    # background 0.375 - 0.3 = 0.075, then gland 0.3 - 0.075 = 0.225.
    background_ = BackgroundConfig(level=240.0, blur=0)
    other = OtherConfig()
    config = AdjustConfig(background=background_, other=other, subtract="in-place")
    found = adjust(pixel(0.3, 0.0, 0.0), gray(240), config, CLASSES)[:, 0, 0]
    np.testing.assert_allclose(found, [0.225, 0, 0, 0.075, 0.03125], atol=1e-6)


def test_margins_are_what_the_paper_describes_for_each_class() -> None:
    maps = np.random.default_rng(0).random((5, 6, 7), np.float32)
    expected = [np.maximum(maps[k] - np.delete(maps, k, 0).max(0), 0) for k in range(5)]
    np.testing.assert_allclose(margins(maps), expected, atol=1e-7)


@pytest.mark.parametrize("value", [200, 239, 240, 241, 255])
def test_background_is_a_sigmoid_of_the_brightness(value) -> None:
    config = BackgroundConfig(level=240.0, blur=0)
    found = background(gray(value), config, np.zeros((0, 1, 1), np.float32))
    expected = 0.75 / (1 + math.exp(-4 * (value - 240)))
    assert found.item() == pytest.approx(expected, abs=1e-6)


def test_background_is_blurred_and_gives_way_to_white_tissue() -> None:
    image = gray(100, 32)
    image[:, 16:] = 255
    config = BackgroundConfig(level=240.0, exempt=("fat",))
    fat = np.random.default_rng(0).random((1, 32, 32), np.float32)
    found = background(image, config, fat)
    bright = gaussian_filter(np.where(image[..., 0] == 255, 0.75, 0.0), 2)
    np.testing.assert_allclose(found, np.clip(bright - fat[0], 0, 1), atol=1e-5)


def test_the_level_of_white_follows_the_scanner_within_bounds() -> None:
    assert [white_level(v) for v in (255, 230, 180)] == [240.0, 215.0, 200.0]
    # The published level overlooks the white of a scanner at 230; one found in the data does not.
    rest = np.zeros((0, 1, 1), np.float32)
    assert background(gray(230), BackgroundConfig(level=240.0), rest).item() < 1e-6
    found = background(gray(230), BackgroundConfig(level=white_level(230)), rest)
    assert found.item() == pytest.approx(0.75, abs=1e-6)


def test_other_tissue_is_what_classes_leave_and_what_belongs_to_other_classes() -> None:
    other = OtherConfig(claimed_by=("fat",))
    config = PLAIN.model_copy(update={"other": other, "segment": ("gland", "vessel")})
    found = adjust(pixel(0.3, 0.2, 0.0), gray(0), config, CLASSES)[:, 0, 0]
    np.testing.assert_allclose(found, [0.3, 0.2, 0, 0, 0.05 * 0.7], atol=1e-6)
    found = adjust(pixel(0.3, 0.2, 0.4), gray(0), config, CLASSES)[:, 0, 0]
    np.testing.assert_allclose(found, [0.3, 0.2, 0, 0, 0.4], atol=1e-6)  # fat never wins itself


def test_a_class_that_stands_for_other_tissue_has_no_map_of_its_own() -> None:
    config = PLAIN.model_copy(update={"other": OtherConfig(name="vessel")})
    found = adjust(pixel(0.3, 0.9, 0.1), gray(0), config, CLASSES)[:, 0, 0]
    np.testing.assert_allclose(found, [0.3, 0, 0.1, 0, 0.05 * 0.7], atol=1e-6)


@pytest.mark.parametrize("subtract", ["margin", "in-place"])
def test_other_tissue_is_compared_with_but_keeps_what_it_has(subtract) -> None:
    config = AdjustConfig(background=None, other=OtherConfig(share=0.5), subtract=subtract)
    found = adjust(pixel(0.3, 0.1, 0.0), gray(0), config, CLASSES)[:, 0, 0]
    np.testing.assert_allclose(found, [0, 0, 0, 0, 0.35], atol=1e-6)
    found = adjust(pixel(0.8, 0.1, 0.0), gray(0), config, CLASSES)[:, 0, 0]
    np.testing.assert_allclose(found, [0.7, 0, 0, 0, 0.1], atol=1e-6)


def test_names_that_are_no_classes_are_refused() -> None:
    config = AdjustConfig(segment=("gland",), other=OtherConfig(claimed_by=("bone",)))
    with pytest.raises(ConfigError, match="bone"):
        require_names(config.names(), CLASSES)
