import json
import tracemalloc

import numpy as np
import pytest

from histoweak.metrics.boundary import BoundaryTally
from histoweak.metrics.confusion import ConfusionMatrix
from histoweak.metrics.evidence import EvidenceTally
from histoweak.metrics.groups import Grouped, confusions_from_dict, confusions_to_dict, paired
from histoweak.metrics.histogram import ScoreHistogram
from histoweak.metrics.image_miou import ImageAveragedMIoU


def filled(order: list[str], shift: int = 0) -> Grouped[ConfusionMatrix]:
    groups = Grouped(lambda: ConfusionMatrix(3))
    for name in order:
        rng = np.random.default_rng(ord(name))
        truth = rng.integers(0, 3, 50).astype(np.uint8)
        groups[name].update(((truth + shift) % 3).astype(np.uint8), truth)
    return groups


def test_groups_hand_counted() -> None:
    groups = Grouped(lambda: ConfusionMatrix(2))
    for name, pred in (("b", 0), ("a", 1), ("b", 1)):
        groups[name].update(np.array([pred], np.uint8), np.array([0], np.uint8))
    assert groups.names == ("a", "b")
    assert groups.stacked()[:, 0].tolist() == [[0, 1, 0], [1, 1, 0]]
    assert groups.total().matrix.tolist() == [[1, 2], [0, 0]]


def test_reading_order_does_not_matter() -> None:
    one, other = filled(["a", "b", "c"]), filled(["c", "a", "b"])
    np.testing.assert_array_equal(one.stacked(), other.stacked())


def test_no_group_yet() -> None:
    empty = Grouped(lambda: ConfusionMatrix(3))
    assert empty.stacked().shape == (0, 3, 4)
    assert empty.total().matrix.sum() == 0


def test_plain_data_reads_back() -> None:
    groups = filled(["a", "b"])
    again = confusions_from_dict(json.loads(json.dumps(confusions_to_dict(groups))))
    assert again.names == groups.names
    np.testing.assert_array_equal(again.stacked(), groups.stacked())
    mixed = {"a": ConfusionMatrix(2).to_dict(), "b": ConfusionMatrix(3).to_dict()}
    with pytest.raises(ValueError, match="different"):
        confusions_from_dict(mixed)
    with pytest.raises(ValueError, match="no group"):
        confusions_from_dict({})


def test_runs_pair_only_where_they_saw_the_same_pixels() -> None:
    left, right = paired(filled(["a", "b"]), filled(["b", "a"], shift=1))
    np.testing.assert_array_equal(left.sum(-1), right.sum(-1))
    with pytest.raises(ValueError, match=r"only one of the two runs: \['c'\]"):
        paired(filled(["a", "b"]), filled(["a", "b", "c"]))
    with pytest.raises(ValueError, match=r"different true pixels of the groups \['b'\]"):
        paired(filled(["a", "b"]), filled(["a", "b", "b"]))
    with pytest.raises(ValueError, match="3 and 2 classes"):
        two = Grouped(lambda: ConfusionMatrix(2))
        two["a"].update(np.zeros(1, np.uint8), np.zeros(1, np.uint8))
        paired(filled(["a"]), two)


def test_memory_does_not_grow_with_the_images() -> None:
    matrices = Grouped(lambda: ConfusionMatrix(3))
    boundary, evidence = BoundaryTally(3, 1.0), EvidenceTally(3)
    histogram, average = ScoreHistogram(3), ImageAveragedMIoU(3)
    rng = np.random.default_rng(0)

    def one_image(index: int) -> None:
        truth = rng.integers(0, 3, (16, 16)).astype(np.uint8)
        pred, scores = truth[::-1], rng.random((3, 16, 16))
        matrices[f"patient {index % 3}"].update(pred, truth)
        average.update(pred, truth)
        boundary.update(pred, truth, 0.5)
        evidence.update(scores, truth, rng.random(3))
        histogram.update(scores, truth == np.arange(3)[:, None, None])

    for index in range(10):
        one_image(index)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for index in range(300):
        one_image(index)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 50_000  # 300 such images hold over 2 MB
