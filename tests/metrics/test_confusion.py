import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix

from histoweak.metrics import confusion
from histoweak.metrics.confusion import ConfusionMatrix


def masks(seed: int, n_classes: int, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    values = np.array([*range(n_classes), 255], np.uint8)
    return rng.choice(values, shape), rng.choice(values, shape)


def test_hand_counted() -> None:
    truth = np.array([[0, 0, 0, 1], [1, 1, 2, 255], [2, 2, 255, 255]], np.uint8)
    pred = np.array([[0, 0, 1, 1], [1, 255, 2, 0], [0, 255, 255, 2]], np.uint8)
    cm = ConfusionMatrix(3)
    cm.update(pred, truth)
    assert cm.matrix.tolist() == [[2, 1, 0], [0, 2, 0], [1, 0, 1]]
    assert cm.unpredicted.tolist() == [0, 1, 1]
    assert cm.matrix.dtype == np.int64


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 40), st.integers(1, 40))
def test_agrees_with_scikit_learn(seed: int, k: int, h: int, w: int) -> None:
    pred, truth = masks(seed, k, (h, w))
    cm = ConfusionMatrix(k)
    cm.update(pred, truth)
    scored = truth != 255
    labels = [*range(k), 255]
    if not scored.any():
        assert cm.tallies.sum() == 0
        return
    expected = confusion_matrix(truth[scored], pred[scored], labels=labels)
    np.testing.assert_array_equal(cm.matrix, expected[:k, :k])
    np.testing.assert_array_equal(cm.unpredicted, expected[:k, k])


def test_update_in_parts_merge_and_chunks_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    pred, truth = masks(3, 4, (6, 17, 19))
    whole, parts = ConfusionMatrix(4), [ConfusionMatrix(4) for _ in range(6)]
    whole.update(pred, truth)
    for part, p, t in zip(parts, pred, truth, strict=True):
        part.update(p, t)
    np.testing.assert_array_equal(sum(parts[1:], parts[0]).tallies, whole.tallies)
    monkeypatch.setattr(confusion, "CHUNK", 100)
    chunked = ConfusionMatrix(4)
    chunked.update(pred[:, ::-1], truth[:, ::-1])
    np.testing.assert_array_equal(chunked.tallies, whole.tallies)


def test_adding_leaves_both_terms_as_they_were() -> None:
    a, b = ConfusionMatrix(2), ConfusionMatrix(2)
    a.update(np.zeros(3, np.uint8), np.zeros(3, np.uint8))
    b.update(np.ones(2, np.uint8), np.zeros(2, np.uint8))
    total = a + b
    assert (a.tallies.sum(), b.tallies.sum(), total.tallies.sum()) == (3, 2, 5)


def test_another_ignore_index() -> None:
    cm = ConfusionMatrix(2, ignore_index=4)
    cm.update(np.array([0, 4, 1], np.uint8), np.array([0, 1, 4], np.uint8))
    assert cm.tallies.tolist() == [[1, 0, 0], [0, 0, 1]]
    with pytest.raises(ValueError, match=r"truth holds the values \[255\], expected 0 to 1 or 4"):
        cm.update(np.array([0], np.uint8), np.array([255], np.uint8))


def test_255_classes_fill_the_whole_range() -> None:
    values = np.arange(256, dtype=np.uint8)
    cm = ConfusionMatrix(255)
    cm.update(values, values)
    np.testing.assert_array_equal(cm.matrix, np.eye(255))


def test_empty_masks_count_nothing() -> None:
    cm = ConfusionMatrix(2)
    cm.update(np.zeros((0, 5), np.uint8), np.zeros((0, 5), np.uint8))
    assert cm.tallies.sum() == 0


def test_plain_data_reads_back() -> None:
    cm = ConfusionMatrix(3, ignore_index=9)
    cm.update(np.array([0, 1, 9, 2], np.uint8), np.array([0, 2, 1, 9], np.uint8))
    again = ConfusionMatrix.from_dict(cm.to_dict())
    np.testing.assert_array_equal(again.tallies, cm.tallies)
    assert (again.n_classes, again.ignore_index) == (3, 9)
    cm.to_dict()["matrix"][0][0] = 7  # the plain data is a copy
    np.testing.assert_array_equal(again.tallies, cm.tallies)


@pytest.mark.parametrize(
    ("pred", "truth", "message"),
    [
        (np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8), r"shape \(2, 3\), truth \(3, 2\)"),
        (np.zeros(3, np.int64), np.zeros(3, np.uint8), "prediction has dtype int64"),
        (np.zeros(3, np.uint8), np.zeros(3, bool), "truth has dtype bool"),
        (np.array([0, 7, 2], np.uint8), np.zeros(3, np.uint8), r"prediction holds .* \[2, 7\]"),
        (np.zeros(2, np.uint8), np.array([3, 254], np.uint8), r"truth holds the values \[3, 254\]"),
    ],
)
def test_refuses_what_it_cannot_count(pred: np.ndarray, truth: np.ndarray, message: str) -> None:
    cm = ConfusionMatrix(2)
    with pytest.raises(ValueError, match=message):
        cm.update(pred, truth)
    assert cm.tallies.sum() == 0


@pytest.mark.parametrize(("k", "ignore"), [(0, 255), (256, 255), (4, 3), (2, 256)])
def test_refuses_impossible_classes(k: int, ignore: int) -> None:
    with pytest.raises(ValueError, match="expected"):
        ConfusionMatrix(k, ignore)


def test_refuses_to_add_other_classes_and_bad_plain_data() -> None:
    with pytest.raises(ValueError, match="cannot add"):
        ConfusionMatrix(2) + ConfusionMatrix(3)
    data = ConfusionMatrix(2).to_dict()
    with pytest.raises(ValueError, match="shape"):
        ConfusionMatrix.from_dict(data | {"matrix": [[1]]})
    with pytest.raises(ValueError, match="negative"):
        ConfusionMatrix.from_dict(data | {"unpredicted": [0, -1]})
