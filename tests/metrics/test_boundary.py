import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from histoweak.metrics.boundary import (
    BoundaryTally,
    boundary_f,
    boundary_iou,
    mean_boundary_f,
    mean_boundary_iou,
)
from tests.oracles import boundary_metrics


def halves(at: int, height: int = 4, width: int = 12) -> np.ndarray:
    """Class 0 left of the column, class 1 from it on."""
    return np.broadcast_to(np.arange(width) >= at, (height, width)).astype(np.uint8)


def tally_of(pred: np.ndarray, truth: np.ndarray, tolerance: float, mpp: float) -> BoundaryTally:
    tally = BoundaryTally(int(max(truth[truth < 255].max(initial=0), 1)) + 1, tolerance)
    tally.update(pred, truth, mpp)
    return tally


def test_hand_counted_shift_by_two_pixels() -> None:
    # A straight boundary moved by 2 pixels of 0.5 microns. At 1 micron (2 pixels) it is met; at
    # 0.5 microns (1 pixel) it is not. Bands of 2 columns at 1 micron: class 0 has the columns
    # {4, 5} and {6, 7}: nothing in common. At 1.5 microns {3, 4, 5} and {5, 6, 7}: 1 of 5.
    truth, pred = halves(6), halves(8)
    assert boundary_f(tally_of(pred, truth, 1.0, 0.5)).tolist() == [1, 1]
    assert boundary_f(tally_of(pred, truth, 0.5, 0.5)).tolist() == [0, 0]
    assert boundary_iou(tally_of(pred, truth, 1.0, 0.5)).tolist() == [0, 0]
    np.testing.assert_allclose(boundary_iou(tally_of(pred, truth, 1.5, 0.5)), [1 / 5, 1 / 5])


def test_tallies_are_in_microns() -> None:
    tally = tally_of(halves(6), halves(6), 1.0, 0.5)
    # 4 boundary pixels of half a micron; a band of 4 x 2 pixels of a quarter square micron.
    assert tally.tallies[0].tolist() == [2, 2, 2, 2, 2, 2]


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([(0.5, 0.5), (1.0, 0.5), (1.2, 0.4), (2.0, 0.7)]),
    st.sampled_from([1, 3]),
)
def test_agrees_with_loops(seed: int, scale: tuple[float, float], cell: int) -> None:
    tolerance, mpp = scale
    rng = np.random.default_rng(seed)
    values = np.array([0, 1, 2, 255], np.uint8)
    block = np.ones((cell, cell), np.uint8)
    truth, pred = (np.kron(rng.choice(values, (9 // cell, 9 // cell)), block) for _ in range(2))
    tally = BoundaryTally(3, tolerance)
    tally.update(pred, truth, mpp)
    found = np.stack([boundary_f(tally), boundary_iou(tally)], 1)
    expected = [boundary_metrics.scores(pred, truth, k, tolerance, mpp) for k in range(3)]
    np.testing.assert_allclose(found, expected)


def test_ignored_pixels_and_the_frame_make_no_boundary() -> None:
    truth = np.full((6, 6), 255, np.uint8)
    truth[1:4, 1:4] = 0
    tally = tally_of(np.zeros((6, 6), np.uint8), truth, 1.0, 1.0)
    assert np.isnan(boundary_f(tally)).all()
    assert np.isnan(boundary_iou(tally)).all()
    assert np.isnan(mean_boundary_f(tally))


def test_the_data_set_is_scored_as_one_and_tallies_add() -> None:
    good, bad = tally_of(halves(6), halves(6), 1.0, 1.0), tally_of(halves(2), halves(9), 1.0, 1.0)
    total = good + bad
    assert boundary_f(total).tolist() == [0.5, 0.5]
    assert mean_boundary_iou(total) == pytest.approx(1 / 3)
    stacked = np.stack([good.tallies, bad.tallies, total.tallies])
    np.testing.assert_allclose(boundary_f(stacked)[:, 0], [1.0, 0.0, 0.5])


def test_refuses_what_it_cannot_measure() -> None:
    with pytest.raises(ValueError, match="tolerance_um"):
        BoundaryTally(2, 0)
    tally = BoundaryTally(2, 1.0)
    with pytest.raises(ValueError, match="at most the tolerance"):
        tally.update(halves(6), halves(6), 2.0)
    with pytest.raises(ValueError, match="shape"):
        tally.update(halves(6), halves(6, width=5), 0.5)
    with pytest.raises(ValueError, match="cannot add"):
        tally.merge(BoundaryTally(2, 2.0))
