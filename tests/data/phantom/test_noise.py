"""Random functions of place: zero mean, unit variance, and the same in every window."""

import numpy as np
import pytest
from scipy.interpolate import BSpline

from histoweak.data.phantom.noise import (
    Window,
    normal,
    scatter,
    smooth_noise,
    subkey,
    uniform,
    warped_noise,
)

WHOLE = Window(-40, 17, 300, 280, 0.7)


@pytest.mark.parametrize("scale", [0.3, 2.0, 9.0])
def test_a_part_has_the_very_values_of_the_whole(scale: float) -> None:
    part = Window(33, 120, 61, 47, 0.7)
    whole = smooth_noise(WHOLE, 5, scale)
    assert np.array_equal(smooth_noise(part, 5, scale), whole[73:134, 103:150])


def test_smooth_noise_is_a_cubic_spline_through_hashed_nodes() -> None:
    window, scale = Window(3, -8, 6, 5, 0.5), 2.0
    got = smooth_noise(window, 11, scale)
    spline = BSpline.basis_element(np.arange(5) - 2.0, extrapolate=False)
    nodes = np.arange(-20, 20)
    table = uniform(11, nodes[:, None], nodes[None, :]) * 2.0 - 1
    for i, y in enumerate(window.ys):
        for j, x in enumerate(window.xs):
            by_y, by_x = (np.nan_to_num(spline(p / scale - nodes)) for p in (y, x))
            assert got[i, j] * np.sqrt(1 / 3) * 151 / 315 == pytest.approx(
                by_y @ table @ by_x, abs=1e-5
            )


@pytest.mark.parametrize("make", ["smooth", "warped", "normal"])
def test_noise_has_zero_mean_and_unit_variance(make: str) -> None:
    window = Window(0, 0, 600, 600, 1.0)
    y, x = np.meshgrid(window.ys, window.xs, indexing="ij")
    values = {
        "smooth": lambda: smooth_noise(window, 3, 2.7),
        "warped": lambda: warped_noise(3, y / 2.3, x / 3.1),
        "normal": lambda: normal(3, np.arange(600)[:, None], np.arange(600)[None, :]),
    }[make]()
    assert abs(values.mean()) < 0.03
    assert values.std() == pytest.approx(1, abs=0.03)


def test_hashed_numbers_are_uniform_and_uncorrelated() -> None:
    values = uniform(1, np.arange(-300, 300)[:, None], np.arange(-300, 300)[None, :])
    counts = np.histogram(values, 16, (0, 1))[0] / values.size
    assert np.abs(counts - 1 / 16).max() < 0.002
    for one, next_one in ((values[1:], values[:-1]), (values[:, 1:], values[:, :-1])):
        assert abs(np.corrcoef(one.ravel(), next_one.ravel())[0, 1]) < 0.01


def test_subkeys_differ_by_name_and_key() -> None:
    keys = {subkey(k, n) for k in range(20) for n in ("a", "b", "ab", "ba")}
    assert len(keys) == 80


def test_scatter_covers_a_part_with_the_points_of_the_whole() -> None:
    part = Window(33, 120, 61, 47, 0.7)
    sets = []
    for window in (WHOLE, part):
        points = scatter(window, 9, 5.0, 0.4)
        inside = (points.y >= part.ys[0]) & (points.y <= part.ys[-1])
        inside &= (points.x >= part.xs[0]) & (points.x <= part.xs[-1])
        kept = points.keep(inside)
        sets.append(
            {
                (*map(float, t[:2]), *map(float, t[2]))
                for t in zip(kept.y, kept.x, kept.draws, strict=True)
            }
        )
    assert sets[0] == sets[1]
    # A hexagonal lattice of pitch s has one point per s * s * sqrt(3) / 2.
    area = (part.ys[-1] - part.ys[0]) * (part.xs[-1] - part.xs[0])
    assert len(sets[0]) == pytest.approx(area / (25 * np.sqrt(3) / 2), rel=0.2)
