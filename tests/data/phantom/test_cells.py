"""Ellipses against a loop over pixels."""

import numpy as np
import pytest

from histoweak.data.phantom.cells import Ellipses, add_ellipses, dome, highest_ellipse
from histoweak.data.phantom.noise import Window

WINDOW = Window(10, -20, 40, 50, 0.5)


def _shapes(n: int, seed: int) -> Ellipses:
    rng = np.random.default_rng(seed)
    columns = [
        rng.uniform(3, 27, n),  # y, some beyond the window
        rng.uniform(-12, 17, n),
        rng.uniform(1, 6, n),
        rng.uniform(1, 3, n),
        rng.uniform(0, 6.3, n),
        rng.uniform(0.5, 2, n),
    ]
    return Ellipses(*(c.astype(np.float32) for c in columns), np.zeros((n, 2), np.float32))


def _value(s: Ellipses, i: int, y: float, x: float) -> float:
    dy, dx = y - s.y[i], x - s.x[i]
    along = (dx * np.cos(s.angle[i]) + dy * np.sin(s.angle[i])) / s.major[i]
    across = (dy * np.cos(s.angle[i]) - dx * np.sin(s.angle[i])) / s.minor[i]
    return max(0.0, 1 - along**2 - across**2) * s.tone[i]


@pytest.mark.parametrize("seed", range(3))
def test_sum_and_highest_agree_with_a_loop(seed: int) -> None:
    shapes = _shapes(25, seed)
    total = np.zeros((WINDOW.height, WINDOW.width), np.float32)
    add_ellipses(total, WINDOW, shapes, dome, reach=1.0)
    highest = highest_ellipse(WINDOW, shapes, dome, reach=1.0)
    for r, y in enumerate(WINDOW.ys):
        for c, x in enumerate(WINDOW.xs):
            values = [_value(shapes, i, y, x) for i in range(25)]
            assert total[r, c] == pytest.approx(sum(values), abs=1e-4)
            assert highest[r, c] == pytest.approx(max(values), abs=1e-4)


def test_no_shapes_draw_nothing() -> None:
    plane = np.zeros((WINDOW.height, WINDOW.width), np.float32)
    add_ellipses(plane, WINDOW, _shapes(0, 0), dome)
    assert not plane.any()
