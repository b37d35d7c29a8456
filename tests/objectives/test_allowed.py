import numpy as np
import torch

from histoweak.objectives.allowed import allowed_cells


def test_it_is_that_of_a_loop_over_windows_and_cells() -> None:
    random = np.random.default_rng(0)
    corners = random.uniform(-4, 40, (12, 2, 2)).round(1)
    low, high = corners.min(axis=1), corners.max(axis=1)
    boxes = np.concatenate([random.integers(0, 3, (12, 1)), low, high], axis=1)
    labels = random.integers(0, 2, (12, 4))
    expected = np.ones((3, 4, 5, 8), bool)
    for (item, x0, y0, x1, y1), label in zip(boxes, labels, strict=True):
        for y, x in np.ndindex(5, 8):
            if x0 <= (x + 0.5) * 4 < x1 and y0 <= (y + 0.5) * 4 < y1:
                expected[int(item), :, y, x] &= label > 0
    found = allowed_cells(torch.tensor(boxes), torch.tensor(labels).double(), 3, (5, 8), 1 / 4)
    np.testing.assert_array_equal(found.numpy(), expected)


def test_without_windows_all_is_allowed() -> None:
    assert allowed_cells(torch.zeros(0, 5), torch.zeros(0, 4), 2, (3, 3), 0.1).all()
