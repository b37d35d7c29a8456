from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from histoweak.inference.tiling import blend_bands, blend_tiles, tile_starts, tile_weights


@st.composite
def grids(draw):
    tile = draw(st.integers(1, 24))
    return draw(st.integers(1, 70)), tile, draw(st.integers(0, tile - 1))


@given(grids())
def test_weights_are_positive_and_sum_to_one_at_every_pixel(grid):
    length, tile, overlap = grid
    starts, weights = tile_starts(*grid), tile_weights(*grid)
    total = torch.zeros(length, dtype=torch.float64)
    for start, weight in zip(starts, weights, strict=True):
        total[start : start + min(tile, length)] += weight
    assert weights.min() > 0
    torch.testing.assert_close(total, torch.ones(length, dtype=torch.float64), atol=1e-6, rtol=0)
    assert starts == sorted(set(starts)) and starts[0] == 0
    assert starts[-1] + min(tile, length) == length
    assert all(b - a <= tile - overlap for a, b in pairwise(starts))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60), grids(), st.integers(1, 5))
def test_a_pointwise_function_gives_the_untiled_result(height, grid, batch):
    width, tile, overlap = grid
    image = torch.rand(3, height, width)

    def fn(x):
        return torch.stack([x[:, 0] * 2, x.sum(1)], dim=1)

    blended = blend_tiles(fn, image, 2, tile, overlap, batch)
    torch.testing.assert_close(blended, fn(image[None])[0], atol=1e-5, rtol=1e-5)


def test_bands_arrive_from_top_to_bottom_and_are_no_higher_than_a_tile():
    image = torch.rand(1, 50, 30)
    bands = list(blend_bands(lambda x: x, image, 1, 16, 4, 2))
    assert [b.shape[1] for b in bands] == [12, 12, 10, 16]
    torch.testing.assert_close(torch.cat(bands, 1), image)


def test_blending_is_the_weighted_mean_of_overlapping_tiles():
    # Each tile answers with the mean of its own pixels: the oracle is a plain loop over tiles.
    image = torch.rand(1, 20, 33)
    tile, overlap = 8, 3

    def fn(x):
        return x.mean((2, 3), keepdim=True).expand_as(x)

    tops, lefts = tile_starts(20, tile, overlap), tile_starts(33, tile, overlap)
    ramp = torch.sin(torch.pi * (torch.arange(overlap) + 0.5) / (2 * overlap)) ** 2
    profile = torch.cat([ramp, torch.ones(tile - 2 * overlap), ramp.flip(0)])
    total, weight = torch.zeros(20, 33), torch.zeros(20, 33)
    for y in tops:
        for x in lefts:
            part = (slice(y, y + tile), slice(x, x + tile))
            total[part] += image[0][part].mean() * torch.outer(profile, profile)
            weight[part] += torch.outer(profile, profile)
    torch.testing.assert_close(blend_tiles(fn, image, 1, tile, overlap, 3)[0], total / weight)


def test_an_image_that_fits_is_one_pass():
    calls = []

    def fn(x):
        calls.append(tuple(x.shape))
        return x

    blend_tiles(fn, torch.rand(3, 17, 9), 3, 17, 4, 2)
    assert calls == [(1, 3, 17, 9)]


def test_no_more_than_batch_tiles_at_once():
    sizes = []

    def fn(x):
        sizes.append(len(x))
        return x

    blend_tiles(fn, torch.rand(3, 8, 40), 3, 8, 0, 2)
    assert sizes == [2, 2, 1]


def test_maps_of_a_network_with_stride_are_blended_on_their_own_grid():
    image = torch.rand(1, 40, 64)

    def fn(x):
        return torch.nn.functional.avg_pool2d(x, 4)

    blended = blend_tiles(fn, image, 1, 16, 8, 2, stride=4)
    torch.testing.assert_close(blended, fn(image[None])[0])


@pytest.mark.parametrize(("tile", "overlap"), [(8, 8), (8, -1)])
def test_an_overlap_that_does_not_fit_is_refused(tile, overlap):
    with pytest.raises(ValueError, match="overlap"):
        tile_starts(20, tile, overlap)


def test_sizes_that_the_stride_does_not_divide_are_refused():
    with pytest.raises(ValueError, match="multiples"):
        blend_tiles(lambda x: x, torch.rand(3, 10, 8), 3, 8, 0, 1, stride=4)
