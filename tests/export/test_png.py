import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from histoweak.classes import ClassSet
from histoweak.errors import OutputError
from histoweak.export.png import heatmap, overlay, score_colors, write_index_png

CLASSES = ClassSet(("tumour", "stroma", "fat"))


def _mask(seed: int, size: tuple[int, int] = (13, 17)) -> np.ndarray:
    return np.random.default_rng(seed).choice(np.array([0, 1, 2, 255], np.uint8), size)


@given(seed=st.integers(0, 2**32 - 1), height=st.integers(1, 9), width=st.integers(1, 9))
def test_index_png_reads_back_indices_and_colours(tmp_path_factory, seed, height, width):
    path = tmp_path_factory.mktemp("png") / "mask.png"
    mask = _mask(seed, (height, width))
    write_index_png(path, mask, CLASSES)
    with Image.open(path) as picture:
        assert picture.mode == "P"
        np.testing.assert_array_equal(np.asarray(picture), mask)
        shown = np.asarray(picture.convert("RGB"))
    for y in range(height):
        for x in range(width):
            value = int(mask[y, x])
            wanted = (255, 255, 255) if value == 255 else CLASSES.colors[value]
            assert tuple(shown[y, x]) == wanted


def test_index_png_replaces_and_leaves_nothing_beside(tmp_path):
    path = tmp_path / "mask.png"
    path.write_bytes(b"old")
    write_index_png(path, _mask(0), CLASSES)
    assert [p.name for p in tmp_path.iterdir()] == ["mask.png"]
    with Image.open(path) as picture:
        assert picture.size == (17, 13)


def test_index_png_same_bytes_for_same_mask(tmp_path):
    for name in ("a.png", "b.png"):
        write_index_png(tmp_path / name, _mask(3), CLASSES)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_index_png_of_a_view_that_is_not_contiguous(tmp_path):
    mask = _mask(1)[:, ::-2]
    write_index_png(tmp_path / "mask.png", mask, CLASSES)
    with Image.open(tmp_path / "mask.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), mask)


def test_index_png_refuses_unknown_values_and_keeps_the_old_file(tmp_path):
    path = tmp_path / "mask.png"
    path.write_bytes(b"old")
    with pytest.raises(ValueError, match="7"):
        write_index_png(path, np.full((2, 2), 7, np.uint8), CLASSES)
    assert path.read_bytes() == b"old"


def test_index_png_names_the_file_when_it_cannot_be_written(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match=r"file.mask\.png"):
        write_index_png(tmp_path / "file" / "mask.png", _mask(0), CLASSES)


def test_overlay_tints_outlines_and_spares_ignored_pixels():
    image = np.full((6, 9, 3), 200, np.uint8)
    mask = np.full((6, 9), 255, np.uint8)
    mask[:, :6] = 1  # columns 0..5 are class 1; column 5 is its edge towards the ignored ones
    drawn = overlay(image, mask, CLASSES, alpha=0.25)
    tint = np.round(0.75 * 200 + 0.25 * np.array(CLASSES.colors[1]))
    np.testing.assert_array_equal(drawn[:, :5], np.broadcast_to(tint, (6, 5, 3)))
    np.testing.assert_array_equal(drawn[:, 5], np.broadcast_to(CLASSES.colors[1], (6, 3)))
    np.testing.assert_array_equal(drawn[:, 6:], image[:, 6:])


def test_overlay_resizes_the_mask_by_nearest_neighbour():
    image = np.zeros((8, 12, 3), np.uint8)
    coarse = _mask(5, (4, 6))
    fine = coarse.repeat(2, axis=0).repeat(2, axis=1)
    np.testing.assert_array_equal(overlay(image, coarse, CLASSES), overlay(image, fine, CLASSES))


def test_score_colours_grow_lighter_with_the_score():
    colors = score_colors(np.linspace(0, 1, 101)) / 255
    linear = np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)
    luminance = linear @ np.array([0.2126, 0.7152, 0.0722])  # IEC 61966-2-1 (sRGB)
    lightness = 116 * np.cbrt(luminance) - 16
    steps = np.diff(lightness)
    assert (steps > 0.3).all(), "each step of 0.01 is seen"
    assert steps.max() < 3 * steps.min(), "no step jumps"


def test_heatmap_ends_and_unknown_scores():
    image = np.full((4, 4, 3), 100, np.uint8)
    low, high = (heatmap(image, np.full((2, 2), v), alpha=1.0)[0, 0] for v in (-1.0, 2.0))
    np.testing.assert_array_equal(low, score_colors(np.array(0.0)))
    np.testing.assert_array_equal(high, score_colors(np.array(1.0)))
    np.testing.assert_array_equal(heatmap(image, np.full((2, 2), np.nan)), image)


def test_heatmap_takes_the_size_of_the_image():
    image = np.zeros((7, 5, 3), np.uint8)
    assert heatmap(image, np.zeros((3, 2), np.float32)).shape == (7, 5, 3)
