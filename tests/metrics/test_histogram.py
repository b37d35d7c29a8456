import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, jaccard_score, roc_auc_score

from histoweak.metrics import histogram
from histoweak.metrics.histogram import ScoreHistogram


def counted(scores: np.ndarray, truth: np.ndarray, bins: int = 4096) -> ScoreHistogram:
    h = ScoreHistogram(len(scores), bins)
    h.update(scores, truth)
    return h


def fine_data(seed: int = 0, n: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.random((3, n)) < np.array([[0.5], [0.1], [0.9]])
    raw = rng.normal(truth * np.array([[1.0], [2.0], [0.2]]), 1)
    return 1 / (1 + np.exp(-raw)), truth


def test_hand_counted() -> None:
    scores = np.array([[0.9, 0.7, 0.5, 0.3, 0.1]], np.float32)
    h = counted(scores, np.array([[True, False, True, False, False]]))
    assert histogram.auroc(h).tolist() == [5 / 6]  # of 6 pairs, only (0.5, 0.7) is wrong
    np.testing.assert_allclose(histogram.average_precision(h), [(1 + 2 / 3) / 2])
    np.testing.assert_allclose(histogram.iou_at(h, 0.6), [1 / 3])
    np.testing.assert_allclose(histogram.f1_at(h, 0.6), [0.5])
    best, at = histogram.max_iou(h)
    np.testing.assert_allclose(best, [2 / 3])
    assert 0.3 < at[0] <= 0.5
    np.testing.assert_allclose(histogram.iou_at(h, float(at[0])), best)


def test_agrees_with_scikit_learn_on_fine_data() -> None:
    scores, truth = fine_data()
    h = counted(scores.astype(np.float32), truth)
    for k in range(3):
        assert histogram.auroc(h)[k] == pytest.approx(roc_auc_score(truth[k], scores[k]), abs=1e-3)
        exact = average_precision_score(truth[k], scores[k])
        assert histogram.average_precision(h)[k] == pytest.approx(exact, abs=1e-3)
        called = scores[k] >= 0.5
        assert histogram.iou_at(h, 0.5)[k] == pytest.approx(jaccard_score(truth[k], called))
        assert histogram.f1_at(h, 0.5)[k] == pytest.approx(f1_score(truth[k], called))


def test_agrees_exactly_where_scores_are_edges_of_bins() -> None:
    rng = np.random.default_rng(4)
    scores, truth = rng.integers(0, 16, (1, 500)) / 16, rng.random((1, 500)) < 0.3
    h = counted(scores, truth, bins=16)
    assert histogram.auroc(h)[0] == pytest.approx(roc_auc_score(truth[0], scores[0]))
    exact = average_precision_score(truth[0], scores[0])
    assert histogram.average_precision(h)[0] == pytest.approx(exact)
    curve = [jaccard_score(truth[0], scores[0] >= t / 16) for t in range(16)]
    best, at = histogram.max_iou(h)
    assert (best[0], at[0]) == pytest.approx((max(curve), np.argmax(curve) / 16))


def test_calibration_error_agrees_with_a_loop() -> None:
    scores, truth = fine_data(1, 4000)
    expected = []
    for s, t in zip(scores, truth, strict=True):
        bins = np.minimum((s * 16).astype(int), 15)
        parts = [(bins == b) for b in range(16) if (bins == b).any()]
        expected.append(sum(m.mean() * abs(s[m].mean() - t[m].mean()) for m in parts))
    found = histogram.calibration_error(counted(scores, truth))
    np.testing.assert_allclose(found, expected, atol=1 / 8192)
    with pytest.raises(ValueError, match="divisor"):
        histogram.calibration_error(counted(scores, truth), n_bins=15)


def test_images_add_up_and_ignored_pixels_do_not_count() -> None:
    scores, truth = fine_data(2, 60)
    scores, truth = scores.reshape(3, 6, 10), truth.reshape(3, 6, 10)
    valid = np.random.default_rng(3).random((6, 10)) < 0.7
    parts = ScoreHistogram(3)
    for rows in (slice(0, 2), slice(2, 6)):
        parts.update(scores[:, rows], truth[:, rows], valid[rows])
    whole = counted(scores[:, valid], truth[:, valid])
    np.testing.assert_array_equal(parts.tallies, whole.tallies)
    assert (parts + whole).tallies.sum() == 2 * 3 * valid.sum()


def test_leading_axes_score_each_histogram() -> None:
    parts = [counted(*fine_data(s, 300)) for s in range(3)]
    stacked = np.stack([p.tallies for p in parts])
    alone = [histogram.auroc(p) for p in parts]
    np.testing.assert_allclose(histogram.auroc(stacked), alone)
    np.testing.assert_allclose(
        histogram.max_iou(stacked)[0], [histogram.max_iou(p)[0] for p in parts]
    )


def test_no_meaning_is_nan() -> None:
    none = counted(np.array([[0.2, 0.4]]), np.array([[False, False]]))
    measures = (histogram.auroc, histogram.average_precision, lambda h: histogram.max_iou(h)[0])
    for measure in (*measures, lambda h: histogram.iou_at(h, 0.9)):
        assert np.isnan(measure(none)).all()
    assert np.isnan(histogram.auroc(counted(np.array([[0.2]]), np.array([[True]])))).all()
    assert histogram.iou_at(none, 0.3).tolist() == [0]


def test_refuses_bad_input() -> None:
    h = ScoreHistogram(1)
    for bad in (1.5, -0.1, np.nan):
        with pytest.raises(ValueError, match=r"outside 0\.\.1"):
            h.update(np.array([[bad]]), np.array([[True]]))
    with pytest.raises(ValueError, match="classes first"):
        h.update(np.zeros((2, 3)), np.zeros((2, 3), bool))
    with pytest.raises(ValueError, match="valid has shape"):
        h.update(np.zeros((1, 3)), np.zeros((1, 3), bool), np.ones(2, bool))
    with pytest.raises(ValueError, match="power of two"):
        ScoreHistogram(1, 1000)
    with pytest.raises(ValueError, match="threshold"):
        histogram.iou_at(h, 1.5)
    with pytest.raises(ValueError, match="expected"):
        histogram.auroc(np.zeros((3, 16)))
