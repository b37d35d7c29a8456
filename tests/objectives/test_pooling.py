import numpy as np
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from histoweak.objectives.pooling import box_max, box_mean

edges = st.floats(-8, 40).map(lambda v: round(v, 3))


def overlap(start: float, end: float, cell: int) -> float:
    return max(0.0, min(end, cell + 1) - max(start, cell))


@given(st.tuples(edges, edges, edges, edges), st.sampled_from([1.0, 0.5, 1 / 8]), st.integers(0, 1))
@settings(deadline=None, max_examples=60)
def test_the_mean_is_that_of_a_loop_over_cells(corners, scale, item) -> None:
    x0, x1 = sorted(corners[:2])
    y0, y1 = sorted(corners[2:])
    maps = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0)).double()
    boxes = torch.tensor([[item, x0, y0, x1, y1]], dtype=torch.float64)
    found = box_mean(maps, boxes, (scale, scale / 2))
    total, weight = np.zeros(3), 0.0
    for y, x in np.ndindex(4, 5):
        share = overlap(y0 * scale, y1 * scale, y) * overlap(x0 * scale / 2, x1 * scale / 2, x)
        total += share * maps[item, :, y, x].numpy()
        weight += share
    if weight > 1e-4:
        np.testing.assert_allclose(found[0], total / weight, rtol=1e-6, atol=1e-8)
    assert found.isfinite().all()


def test_whole_and_single_cells() -> None:
    maps = torch.randn(2, 3, 4, 5)
    whole = torch.tensor([[1.0, 0, 0, 40, 32], [0.0, 0, 0, 40, 32]])
    found = box_mean(maps, whole, (1 / 8, 1 / 8))
    torch.testing.assert_close(found, maps.mean(dim=(2, 3)).flip(0))
    cell = torch.tensor([[0.0, 16, 8, 24, 16]])
    torch.testing.assert_close(box_mean(maps, cell, (1 / 8, 1 / 8)), maps[:1, :, 1, 2])


def test_no_boxes_have_no_means() -> None:
    assert box_mean(torch.randn(2, 3, 4, 5), torch.zeros(0, 5), (1.0, 1.0)).shape == (0, 3)


def test_the_gradient_is_shared_among_the_cells_of_the_box() -> None:
    maps = torch.zeros(1, 1, 4, 4, requires_grad=True)
    box_mean(maps, torch.tensor([[0.0, 1, 1, 3, 4]]), (1.0, 1.0)).sum().backward()
    expected = torch.zeros(4, 4)
    expected[1:4, 1:3] = 1 / 6
    assert maps.grad is not None
    torch.testing.assert_close(maps.grad[0, 0], expected)


def test_maxima_over_boxes_are_those_of_the_cells_that_they_half_cover() -> None:
    torch.manual_seed(0)
    maps = torch.randn(2, 3, 6, 8)
    random = np.random.default_rng(0)
    low, size = random.uniform(0, 40, (30, 2)), random.uniform(8, 24, (30, 2))
    high = np.minimum(low + size, [64, 48])
    items = random.integers(0, 2, (30, 1))
    boxes = torch.from_numpy(np.hstack([items, low, high])).float()
    found = box_max(maps, boxes, (1 / 8, 1 / 8))
    centres = (np.arange(8) + 0.5) * 8
    for box, values in zip(boxes.numpy(), found, strict=True):
        # A cell of 8 pixels is covered by half or more if its middle lies in the box.
        across = (centres >= box[1]) & (centres <= box[3])
        down = ((centres >= box[2]) & (centres <= box[4]))[:6]
        cells = maps[int(box[0])][:, down][:, :, across]
        torch.testing.assert_close(values, cells.amax(dim=(1, 2)))


def test_the_maximum_over_the_whole_map_is_global_pooling_and_tiny_boxes_have_a_cell() -> None:
    maps = torch.randn(2, 3, 4, 5, requires_grad=True)
    whole = torch.tensor([[0.0, 0, 0, 40, 32], [1.0, 0, 0, 40, 32]])
    torch.testing.assert_close(
        box_max(maps, whole, (1 / 8, 1 / 8)), F.adaptive_max_pool2d(maps, 1).flatten(1)
    )
    tiny = torch.tensor([[1.0, 17, 9, 18, 10], [0.0, 39, 31, 40, 32]])
    found = box_max(maps, tiny, (1 / 8, 1 / 8))
    torch.testing.assert_close(found, torch.stack([maps[1, :, 1, 2], maps[0, :, 3, 4]]))
    found.sum().backward()
    assert maps.grad is not None and maps.grad.sum() == 6
    assert box_max(maps, torch.zeros(0, 5), (1.0, 1.0)).shape == (0, 3)
