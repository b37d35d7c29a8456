import numpy as np
import pytest
from sklearn.metrics import roc_curve

from histoweak.metrics.operating_point import balanced_thresholds


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("decimals", [1, 6])
def test_thresholds_lie_where_scikit_learns_curve_has_equal_rates(seed, decimals) -> None:
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, (60, 3))
    probs = (labels * 0.3 + random.random((60, 3)) * 0.7).round(decimals)
    found = balanced_thresholds(probs, labels, floor=0.0)
    for p, t, threshold in zip(probs.T, labels.T, found, strict=True):
        fpr, tpr, _ = roc_curve(t, p, drop_intermediate=False)
        least = np.abs(tpr[1:] - (1 - fpr[1:])).min()
        called = p >= threshold
        own = abs(called[t == 1].mean() - (~called[t == 0]).mean())
        assert own == pytest.approx(least, abs=1e-9)


def test_thresholds_have_a_floor_that_does_not_replace_them() -> None:
    """Released code of the later paper takes min(threshold, 0) first: always the floor."""
    probs = np.array([[0.9, 0.2, 0.5], [0.8, 0.15, 0.6], [0.7, 0.1, 0.4], [0.1, 0.05, 0.3]])
    labels = np.array([[1, 1, 1], [1, 1, 1], [0, 0, 1], [0, 0, 1]])
    assert balanced_thresholds(probs, labels).tolist() == [0.8, 1 / 3, 1 / 3]


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="labels"):
        balanced_thresholds(np.zeros((3, 2)), np.zeros((3, 1)))
