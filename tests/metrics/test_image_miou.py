import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import jaccard_score

from histoweak.metrics.confusion import ConfusionMatrix
from histoweak.metrics.image_miou import ImageAveragedMIoU
from histoweak.metrics.scores import miou_present


def test_data_set_and_image_average_differ_on_a_hand_counted_case() -> None:
    # A patch of class 0 alone, all right, and one of 6 pixels of class 0 and 2 of class 1 that
    # is called 0 throughout. Image by image: (1 + (6/8 + 0)/2) / 2 = 0.6875. Over the data set:
    # (14/16 + 0)/2 = 0.4375.
    pure, mixed = np.zeros(8, np.uint8), np.array([0] * 6 + [1] * 2, np.uint8)
    calls = np.zeros(8, np.uint8)
    average, whole = ImageAveragedMIoU(2), ConfusionMatrix(2)
    for truth in (pure, mixed):
        average.update(calls, truth)
        whole.update(calls, truth)
    assert average.value == 0.6875
    assert miou_present(whole) == 0.4375


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_agrees_with_scikit_learn_image_by_image(seed: int, images: int) -> None:
    rng = np.random.default_rng(seed)
    values = np.array([0, 1, 2, 255], np.uint8)
    average, expected = ImageAveragedMIoU(3), []
    for _ in range(images):
        truth, pred = rng.choice(values, 4), rng.integers(0, 3, 4).astype(np.uint8)
        average.update(pred, truth)
        scored = truth != 255
        if scored.any():
            expected.append(jaccard_score(truth[scored], pred[scored], average="macro"))
    assert average.images == len(expected)
    if expected:
        assert average.value == pytest.approx(np.mean(expected))
    else:
        assert math.isnan(average.value)
