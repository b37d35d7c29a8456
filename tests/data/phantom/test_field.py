"""Whole fields: any size, no seams, exact masks, bounded memory."""

import tracemalloc
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from histoweak.data.phantom import TISSUES, Layout, PatientStyle, field, render_field
from histoweak.data.phantom.noise import Window, subkey
from histoweak.data.phantom.regions import partition

STYLE = PatientStyle.draw(np.random.SeedSequence(0))
ALL = Layout((0, 1, 2, 3), (0.0,) * 4, -0.5, 40.0)


@pytest.mark.parametrize(
    ("height", "width", "mpp"), [(1, 1, 1.0), (37, 101, 0.5), (64, 33, 2.0), (50, 50, 0.25)]
)
def test_any_size(height: int, width: int, mpp: float) -> None:
    rgb, mask = render_field(height, width, mpp, 3, STYLE, ALL)
    assert rgb.shape == (height, width, 3)
    assert mask.shape == (height, width)
    assert rgb.dtype == mask.dtype == np.uint8
    assert set(np.unique(mask)) <= {0, 1, 2, 3, 255}


@pytest.mark.parametrize(("height", "width", "mpp"), [(0, 5, 1.0), (5, 5, 0.1), (5, 5, 4.0)])
def test_refuses_sizes_and_scales_it_cannot_draw(height: int, width: int, mpp: float) -> None:
    with pytest.raises(ValueError, match="cannot render"):
        render_field(height, width, mpp, 3, STYLE, ALL)


def test_tiles_join_without_seams(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = render_field(150, 170, 1.0, 5, STYLE, ALL)
    monkeypatch.setattr(field, "TILE", 64)
    tiled = render_field(150, 170, 1.0, 5, STYLE, ALL)
    assert np.array_equal(whole[1], tiled[1])
    assert np.array_equal(whole[0], tiled[0])


def test_the_seed_decides() -> None:
    first, again, other = (render_field(60, 60, 1.0, s, STYLE, ALL)[0] for s in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("tissue", range(4))
def test_one_tissue_fills_its_field(tissue: int) -> None:
    rgb, mask = render_field(90, 90, 1.0, 2, STYLE, Layout((tissue,), (0.0,), None, 40.0))
    assert (mask == tissue).all()
    # Tissue, not glass: on average clearly darker, and far from flat.
    assert rgb.mean() < 220
    assert rgb.std() > 12


def test_white_is_glass_and_tissue_is_not() -> None:
    layout = replace(ALL, white=0.5)
    rgb, mask = render_field(200, 200, 1.0, 8, STYLE, layout)
    glass = np.array(STYLE.white) * 255
    inside = _eroded(mask == 255, 3)
    assert inside.sum() > 1000
    assert np.abs(rgb[inside].mean(axis=0) - glass).max() < 1.5


def _eroded(area: npt.NDArray[np.bool_], steps: int) -> npt.NDArray[np.bool_]:
    for _ in range(steps):
        padded = np.pad(area, 1)
        area = area & padded[2:, 1:-1] & padded[:-2, 1:-1] & padded[1:-1, 2:] & padded[1:-1, :-2]
    return area


def test_the_mask_is_the_partition_of_the_layout() -> None:
    _, mask = render_field(80, 90, 1.0, 12, STYLE, ALL)
    window = Window(0, 0, 80, 90, 1.0)
    assert np.array_equal(mask, partition(window, subkey(12, "regions"), ALL).mask)


def test_borders_are_smooth() -> None:
    layout = Layout((0, 1), (0.0, 0.0), None, 60.0)
    mask = partition(Window(0, 0, 200, 200, 1.0), 4, layout).mask
    steps = (mask[1:] != mask[:-1]).sum() + (mask[:, 1:] != mask[:, :-1]).sum()
    # Noise would give some 40,000 steps, a straight line 200.
    assert 50 < steps < 2500


def test_a_frame_of_white_surrounds_a_slide() -> None:
    layout = Layout((0, 1, 2, 3), (0.0,) * 4, -0.5, 60.0, frame=(400.0, 400.0))
    edge = partition(Window(0, 0, 200, 200, 2.0), 6, layout).mask
    for side in (edge[0], edge[-1], edge[:, 0], edge[:, -1]):
        assert (side == 255).mean() > 0.95
    assert (edge[60:140, 60:140] != 255).any()


def test_memory_does_not_grow_with_the_field(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(field, "TILE", 64)
    peaks = []
    for side in (128, 384):
        tracemalloc.start()
        result = render_field(side, side, 2.0, 1, STYLE, ALL)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        peaks.append(peak - sum(array.nbytes for array in result))
    assert peaks[1] < 1.5 * peaks[0]


def test_names_follow_the_order_of_the_mask_values() -> None:
    assert TISSUES == ("tumour", "stroma", "lymphocytes", "necrosis")
