import json
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, jaccard_score, precision_score, recall_score

from histoweak.metrics import scores
from histoweak.metrics.confusion import ConfusionMatrix

# Rows are the truth. Class 2 is absent from truth and prediction; one pixel of class 1 is left
# without a prediction. Counted by hand: 10 scored pixels, hits 4 and 3, truth 6 and 4,
# predicted 4 and 5.
TOY = np.array([[4, 2, 0, 0], [0, 3, 0, 1], [0, 0, 0, 0]])


def test_hand_counted() -> None:
    np.testing.assert_allclose(scores.iou(TOY), [4 / 6, 3 / 6, math.nan])
    np.testing.assert_allclose(scores.dice(TOY), [8 / 10, 6 / 9, math.nan])
    np.testing.assert_allclose(scores.recall(TOY), [4 / 6, 3 / 4, math.nan])
    np.testing.assert_allclose(scores.precision(TOY), [4 / 4, 3 / 5, math.nan])
    np.testing.assert_allclose(scores.miou_present(TOY), (4 / 6 + 3 / 6) / 2)
    np.testing.assert_allclose(scores.miou_zero(TOY), (4 / 6 + 3 / 6) / 3)
    np.testing.assert_allclose(scores.fwiou(TOY), 0.6 * 4 / 6 + 0.4 * 3 / 6)
    np.testing.assert_allclose(scores.mean_dice(TOY), (8 / 10 + 6 / 9) / 2)
    np.testing.assert_allclose(scores.mean_recall(TOY), (4 / 6 + 3 / 4) / 2)
    np.testing.assert_allclose(scores.pixel_accuracy(TOY), 7 / 10)


def test_silence_is_a_miss_never_a_gain() -> None:
    truth = np.array([0, 0, 1, 1], np.uint8)
    silent, wrong = ConfusionMatrix(2), ConfusionMatrix(2)
    silent.update(np.array([0, 0, 1, 255], np.uint8), truth)
    wrong.update(np.array([0, 0, 1, 0], np.uint8), truth)
    assert scores.recall(silent).tolist() == scores.recall(wrong).tolist() == [1.0, 0.5]
    assert scores.iou(silent)[1] == scores.iou(wrong)[1] == 0.5
    assert scores.pixel_accuracy(silent) == 0.75


def test_a_class_predicted_but_never_true_scores_zero() -> None:
    counts = np.array([[3, 1], [0, 0]])
    assert scores.iou(counts).tolist() == [0.75, 0.0]
    assert scores.miou_present(counts) == 0.375
    assert math.isnan(scores.recall(counts)[1])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 6), st.integers(1, 200))
def test_agrees_with_scikit_learn(seed: int, k: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    truth, pred = rng.integers(0, k, (2, n)).astype(np.uint8)
    cm = ConfusionMatrix(k)
    cm.update(pred, truth)
    every = {"labels": range(k), "average": None, "zero_division": np.nan}
    np.testing.assert_allclose(scores.dice(cm), f1_score(truth, pred, **every))
    np.testing.assert_allclose(scores.recall(cm), recall_score(truth, pred, **every))
    np.testing.assert_allclose(scores.precision(cm), precision_score(truth, pred, **every))
    np.testing.assert_allclose(scores.pixel_accuracy(cm), accuracy_score(truth, pred))
    seen = np.union1d(truth, pred)
    each = jaccard_score(truth, pred, labels=seen, average=None)
    np.testing.assert_allclose(scores.iou(cm)[seen], each)
    np.testing.assert_allclose(scores.miou_present(cm), each.mean())
    np.testing.assert_allclose(scores.miou_zero(cm), each.sum() / k)
    weighted = jaccard_score(truth, pred, average="weighted", zero_division=0)
    np.testing.assert_allclose(scores.fwiou(cm), weighted)


ALL = (
    scores.iou,
    scores.miou_present,
    scores.miou_zero,
    scores.fwiou,
    scores.dice,
    scores.mean_dice,
    scores.recall,
    scores.mean_recall,
    scores.precision,
    scores.pixel_accuracy,
)


@pytest.mark.parametrize("score", ALL)
def test_leading_axes_score_each_matrix(score: Callable[[np.ndarray], np.ndarray]) -> None:
    counts = np.random.default_rng(1).integers(0, 5, (3, 2, 4, 5))
    counts[0, 0] = 0
    stacked = score(counts)
    alone = [[score(m) for m in row] for row in counts]
    np.testing.assert_allclose(stacked, alone)


def test_nothing_scored_has_no_score() -> None:
    empty = ConfusionMatrix(3)
    assert math.isnan(scores.miou_present(empty))
    assert math.isnan(scores.pixel_accuracy(empty))
    assert math.isnan(scores.fwiou(empty))
    assert scores.miou_zero(empty) == 0


def test_summary_is_strict_json_with_names() -> None:
    result = json.loads(json.dumps(scores.summary(TOY, ["a", "b", "c"]), allow_nan=False))
    assert result["pixel_accuracy"] == pytest.approx(0.7)
    assert result["miou_zero"] < result["miou_present"]
    assert (result["scored_pixels"], result["unpredicted_pixels"]) == (10, 1)
    assert result["classes"]["b"]["truth_pixels"] == 4
    assert result["classes"]["b"]["predicted_pixels"] == 5
    assert result["classes"]["c"]["iou"] is None


def test_refuses_counts_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="expected"):
        scores.iou(np.zeros((3, 5)))
    with pytest.raises(ValueError, match="2 classes named"):
        scores.summary(TOY, ["a", "b"])


def test_specificity_is_the_recall_of_everything_else():
    random = np.random.default_rng(7)
    truth, pred = random.integers(0, 3, (2, 400), dtype=np.uint8)
    cm = ConfusionMatrix(3)
    cm.update(pred[None], truth[None])
    expected = [recall_score(truth != k, pred != k) for k in range(3)]
    np.testing.assert_allclose(scores.specificity(cm), expected)
    assert np.isnan(scores.specificity(np.array([[3, 1], [0, 0]]))).tolist() == [True, False]
