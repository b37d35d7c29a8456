import json
import math

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from histoweak.metrics import histogram
from histoweak.metrics.classification import classification_scores


def data(n: int = 400) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = (rng.random((n, 3)) < [0.5, 0.1, 0.8]).astype(np.uint8)
    return np.clip(rng.normal(0.3 + 0.3 * labels, 0.25), 0, 1).astype(np.float32), labels


def test_hand_counted() -> None:
    probs = np.array([[0.95, 0.1], [0.75, 0.1], [0.55, 0.1], [0.15, 0.9]])
    labels = np.array([[1, 0], [0, 0], [1, 0], [0, 0]])
    scores = classification_scores(probs, labels, n_bins=2)
    assert scores.auroc[0] == pytest.approx(3 / 4)
    assert scores.average_precision[0] == pytest.approx((1 + 2 / 3) / 2)
    assert scores.f1[0] == pytest.approx(4 / 5)
    # Upper half: mean score 0.75, 2 of 3 true; lower half: 0.15, none true.
    assert scores.calibration_error[0] == pytest.approx(3 / 4 * (0.75 - 2 / 3) + 1 / 4 * 0.15)
    assert scores.positives.tolist() == [2, 0]
    assert math.isnan(scores.auroc[1])
    assert math.isnan(scores.average_precision[1])
    assert scores.f1[1] == 0  # called once, never true


def test_agrees_with_scikit_learn() -> None:
    probs, labels = data()
    scores = classification_scores(probs, labels)
    for k in range(3):
        p, t = probs[:, k], labels[:, k]
        assert scores.auroc[k] == pytest.approx(roc_auc_score(t, p))
        assert scores.average_precision[k] == pytest.approx(average_precision_score(t, p))
        assert scores.f1[k] == pytest.approx(f1_score(t, p >= 0.5))


def test_calibration_error_agrees_with_a_loop() -> None:
    probs, labels = data()
    found = classification_scores(probs, labels, n_bins=10).calibration_error
    for k in range(3):
        p, t, expected = probs[:, k].astype(float), labels[:, k], 0.0
        for b in range(10):
            inside = (p >= b / 10) & ((p < (b + 1) / 10) | (b == 9))
            if inside.any():
                expected += inside.mean() * abs(p[inside].mean() - t[inside].mean())
        assert found[k] == pytest.approx(expected, abs=1e-9)


def test_the_histogram_gives_the_same_in_constant_memory() -> None:
    probs, labels = data(5000)
    exact = classification_scores(probs, labels, n_bins=16)
    streamed = histogram.ScoreHistogram(3)
    for start in range(0, 5000, 100):
        part = slice(start, start + 100)
        streamed.update(probs[part].T, labels[part].T == 1)
    np.testing.assert_allclose(histogram.auroc(streamed), exact.auroc, atol=1e-3)
    found = histogram.average_precision(streamed)
    np.testing.assert_allclose(found, exact.average_precision, atol=1e-3)
    np.testing.assert_allclose(histogram.f1_at(streamed, 0.5), exact.f1)
    found = histogram.calibration_error(streamed)
    np.testing.assert_allclose(found, exact.calibration_error, atol=1e-3)


def test_edges_without_meaning() -> None:
    all_true = classification_scores(np.array([[0.2], [0.9]]), np.ones((2, 1)))
    assert math.isnan(all_true.auroc[0])
    assert all_true.average_precision[0] == 1
    silent = classification_scores(np.array([[0.2], [0.1]]), np.zeros((2, 1)))
    assert math.isnan(silent.f1[0])


def test_plain_data_is_strict_json() -> None:
    probs, labels = data()
    labels[:, 2] = 0
    scores = classification_scores(probs, labels)
    result = json.loads(json.dumps(scores.to_dict(["a", "b", "c"]), allow_nan=False))
    assert result["classes"]["c"]["auroc"] is None
    assert result["mean_auroc"] == pytest.approx(scores.auroc[:2].mean())
    assert result["classes"]["a"]["positives"] == labels[:, 0].sum()


@pytest.mark.parametrize(
    ("probs", "labels", "message"),
    [
        (np.zeros((2, 2)), np.zeros((2, 3)), "shape"),
        (np.zeros((0, 2)), np.zeros((0, 2)), "N >= 1"),
        (np.array([[1.2]]), np.array([[1]]), r"outside 0\.\.1"),
        (np.array([[np.nan]]), np.array([[1]]), r"outside 0\.\.1"),
        (np.array([[0.2]]), np.array([[2]]), "other than 0 and 1"),
    ],
)
def test_refuses_bad_input(probs: np.ndarray, labels: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        classification_scores(probs, labels)


def test_refuses_no_bins() -> None:
    with pytest.raises(ValueError, match="n_bins"):
        classification_scores(np.array([[0.2]]), np.array([[1]]), n_bins=0)
