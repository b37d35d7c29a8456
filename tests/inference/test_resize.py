import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from histoweak.inference import resize
from histoweak.inference.resize import index_mask, resize_bands

sides = st.integers(1, 40)


def split(values, heights):
    bands, top = [], 0
    for height in [*heights, values.shape[1]]:
        bands.append(values[:, top : top + height])
        top += height
        if top >= values.shape[1]:
            break
    return bands


@settings(max_examples=80, deadline=None)
@given(sides, sides, sides, sides, st.lists(st.integers(0, 9), max_size=6))
def test_it_is_bilinear_interpolation_however_the_rows_arrive(h, w, height, width, heights):
    values = torch.rand(2, h, w)
    expected = F.interpolate(values[None], (height, width), mode="bilinear", align_corners=False)[0]
    bands = list(resize_bands(split(values, heights), (h, w), (height, width)))
    torch.testing.assert_close(torch.cat(bands, 1), expected, atol=1e-5, rtol=1e-4)


def test_no_band_exceeds_the_bound(monkeypatch):
    monkeypatch.setattr(resize, "CHUNK_VALUES", 600)
    bands = list(resize_bands([torch.rand(3, 10, 10)], (10, 10), (95, 20)))
    assert max(band.numel() for band in bands) <= 600
    assert sum(band.shape[1] for band in bands) == 95


@pytest.mark.parametrize("target", [(9, 13), (30, 41), (5, 4)])
def test_the_mask_is_the_strongest_class(target):
    torch.manual_seed(0)
    probs = torch.randn(4, 9, 13).softmax(0)
    expected = F.interpolate(probs[None], target, mode="bilinear", align_corners=False)[0]
    mask = index_mask(split(probs, [2, 3]), (9, 13), target)
    assert (torch.from_numpy(mask) == expected.argmax(0)).all()
    present = torch.tensor([False, True, True, False])
    gated = index_mask([probs], (9, 13), target, present)
    assert (torch.from_numpy(gated) == expected[1:3].argmax(0) + 1).all()
