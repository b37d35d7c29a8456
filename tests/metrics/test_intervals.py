import itertools
import json
import math

import numpy as np
import pytest
from scipy import stats

from histoweak.metrics import intervals
from histoweak.metrics.intervals import bootstrap, bootstrap_items, paired_test
from histoweak.metrics.scores import iou, miou_present, pixel_accuracy


def patients(groups: int, seed: int = 0, right: float = 0.7) -> np.ndarray:
    """(G, 2, 3) counts of patients of unlike size and quality."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(20, 200, (groups, 2))
    hit = rng.binomial(pixels, rng.beta(10 * right, 10 * (1 - right), (groups, 1)))
    counts = np.zeros((groups, 2, 3), int)
    counts[:, [0, 1], [0, 1]], counts[:, [0, 1], [1, 0]] = hit, pixels - hit
    return counts


def mean_of(sums: np.ndarray) -> np.ndarray:
    """Mean of values whose tallies are (value, 1)."""
    return sums[..., 0] / sums[..., 1]


def as_tallies(values: np.ndarray) -> np.ndarray:
    return np.stack([values, np.ones_like(values)], -1)


def test_agrees_with_scipy_where_scipy_can() -> None:
    values = np.random.default_rng(5).normal(3, 2, 40)
    found = bootstrap(as_tallies(values), mean_of, draws=20_000)
    other = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", rng=1
    ).confidence_interval
    assert found.estimate == pytest.approx(values.mean())
    assert found.low == pytest.approx(other.low, abs=0.05)
    assert found.high == pytest.approx(other.high, abs=0.05)


def test_two_groups_hand_counted() -> None:
    # Draws: (1, 1), (1, 3), (3, 1), (3, 3), so that the mean is 1, 2, 2 or 3.
    found = bootstrap(as_tallies(np.array([1.0, 3.0])), mean_of, draws=4000)
    assert (found.estimate, found.low, found.high) == (2, 1, 3)
    narrow = bootstrap(as_tallies(np.array([1.0, 3.0])), mean_of, draws=4000, level=0.4)
    assert (narrow.low, narrow.high) == (2, 2)


def test_draws_are_scored_together_as_they_would_be_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counts = patients(7)
    whole = bootstrap(counts, iou, draws=500, seed=3)
    assert whole.estimate.shape == whole.low.shape == (2,)
    monkeypatch.setattr(intervals, "BLOCK", 1)
    single = bootstrap(counts, iou, draws=500, seed=3)
    np.testing.assert_allclose([single.low, single.high], [whole.low, whole.high])
    other = bootstrap(counts, iou, draws=500, seed=4)
    assert not np.array_equal(other.low, whole.low)


def test_items_and_tallies_give_the_same_interval() -> None:
    # The same seed draws the same patients, so that both ways agree to the last digits.
    rng = np.random.default_rng(2)
    names = rng.choice(["a", "b", "c", "d", "e"], 60)
    right = rng.random(60) < 0.6
    tallies = np.array([[right[names == n].sum(), (names == n).sum()] for n in np.unique(names)])
    by_sums = bootstrap(tallies, mean_of, draws=300, seed=9)
    by_items = bootstrap_items(list(names), lambda i: right[i].mean(), draws=300, seed=9)
    np.testing.assert_allclose(by_items.low, by_sums.low)
    np.testing.assert_allclose(by_items.high, by_sums.high)
    np.testing.assert_allclose(by_items.estimate, right.mean())


def test_intervals_over_patients_are_wider_than_over_patches() -> None:
    rng = np.random.default_rng(0)
    names = np.repeat(["a", "b", "c", "d", "e", "f"], 50)
    right = rng.random(300) < np.repeat([0.2, 0.9, 0.5, 0.8, 0.3, 0.7], 50)

    def width(groups: list[str]) -> float:
        found = bootstrap_items(groups, lambda i: right[i].mean(), draws=500)
        return float(found.high - found.low)

    assert width(list(names)) > 2 * width([str(i) for i in range(300)])


def test_coverage_is_near_its_level() -> None:
    rng = np.random.default_rng(11)
    covered = 0
    for trial in range(200):
        found = bootstrap(as_tallies(rng.normal(0, 1, 30)), mean_of, draws=400, seed=trial)
        covered += int(found.low <= 0 <= found.high)
    assert 0.88 <= covered / 200 <= 0.98


def test_one_patient_has_no_interval_and_absent_classes_none_either() -> None:
    one = bootstrap(patients(1), miou_present)
    assert not math.isnan(one.estimate)
    assert math.isnan(one.low) and math.isnan(one.high)
    absent = np.zeros((4, 3, 4), int)
    absent[:, 0, 0] = 5
    absent[0, 1, 0] = 5  # class 1 is with one patient only, class 2 with none
    found = bootstrap(absent, iou, draws=200)
    assert found.low[1] == found.high[1] == 0
    assert math.isnan(found.low[2])
    plain = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert plain["low"][2] is None


def test_paired_p_value_hand_counted() -> None:
    # Differences 1, 2 and 3: of the 8 sign patterns only all + and all - are as far from 0.
    a, b = as_tallies(np.array([2.0, 3.0, 4.0])), as_tallies(np.ones(3))
    result = paired_test(a, b, mean_of)
    assert result.difference.estimate == 2
    assert result.p_value == 2 / 8


def test_paired_p_value_agrees_with_scipy() -> None:
    rng = np.random.default_rng(8)
    a, b = rng.normal(0.4, 1, (2, 10)) * [[1], [0.8]]
    result = paired_test(as_tallies(a), as_tallies(b), mean_of)
    exact = stats.permutation_test(
        (a - b,), np.mean, permutation_type="samples", n_resamples=np.inf
    ).pvalue
    assert result.p_value == pytest.approx(exact)
    sampled = paired_test(as_tallies(a), as_tallies(b), mean_of, draws=1000)
    assert sampled.p_value == pytest.approx(exact, abs=0.05)


def test_paired_test_of_a_score_that_is_no_mean_agrees_with_a_loop() -> None:
    a, b = patients(6, seed=1, right=0.8), patients(6, seed=1, right=0.6)
    observed = float(miou_present(a.sum(0)) - miou_present(b.sum(0)))
    extreme = 0
    for signs in itertools.product([False, True], repeat=6):
        swap = np.array(signs)[:, None, None]
        first, second = np.where(swap, b, a).sum(0), np.where(swap, a, b).sum(0)
        gap = float(miou_present(first) - miou_present(second))
        extreme += abs(gap) >= abs(observed) - 1e-12
    result = paired_test(a, b, miou_present)
    assert result.difference.estimate == pytest.approx(observed)
    assert result.p_value == extreme / 64


def test_paired_interval_uses_the_same_draw_for_both_runs() -> None:
    a = patients(20)
    b = a.copy()
    b[:, 0, 0] -= 1
    b[:, 0, 1] += 1
    result = paired_test(a, b, pixel_accuracy, draws=2000)
    assert 0 < result.difference.low < result.difference.estimate < result.difference.high
    alone = bootstrap(a, pixel_accuracy)
    assert result.difference.high - result.difference.low < (alone.high - alone.low) / 5
    assert result.p_value == pytest.approx(1 / 2001)


def test_equal_runs_do_not_differ_and_classes_are_tested_apart() -> None:
    same = paired_test(patients(5), patients(5), iou)
    assert same.p_value.tolist() == [1, 1]
    assert same.difference.estimate.tolist() == [0, 0]
    assert json.dumps(same.to_dict(), allow_nan=False)


def test_refuses_bad_input() -> None:
    with pytest.raises(ValueError, match="no group"):
        bootstrap(np.zeros((0, 2, 2)), iou)
    with pytest.raises(ValueError, match="level"):
        bootstrap(patients(3), iou, level=95)
    with pytest.raises(ValueError, match="draws"):
        bootstrap(patients(3), iou, draws=0)
    with pytest.raises(ValueError, match="no group"):
        bootstrap_items([], lambda i: i.mean())
    with pytest.raises(ValueError, match="expected the same"):
        paired_test(patients(3), patients(4), iou)
