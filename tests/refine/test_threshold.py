import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from histoweak.refine.threshold import (
    among_allowed,
    gate,
    joint_mask,
    min_max_mask,
    posterior_mask,
)


def column(*pixels) -> np.ndarray:
    """Scores (K, 1, N) from one tuple of K scores per pixel."""
    return np.array(pixels, np.float32).T[:, None]


def test_reading_a_keeps_what_reaches_the_threshold_of_its_own_range() -> None:
    scores = column((0.0, 0.7), (0.0, 0.69), (0.9, 0.8), (0.2, 1.0), (0.0, 0.0))
    assert min_max_mask(scores, 0.70).tolist() == [[1, 255, 0, 1, 255]]
    assert min_max_mask(scores, 0.70, rest=0).tolist() == [[1, 0, 0, 1, 0]]


def test_reading_c_leaves_the_unsure_between_out() -> None:
    """Two classes at 0.70: 1 from 0.70 on, 0 up to 0.30, 255 between."""
    q = np.array([0.0, 0.29, 0.30, 0.31, 0.5, 0.69, 0.70, 0.71, 1.0], np.float32)
    posterior = np.stack([1 - q, q])[:, None]
    expected = [[0, 0, 0, 255, 255, 255, 1, 1, 1]]
    assert posterior_mask(posterior, 0.70).tolist() == expected


@given(hnp.arrays(np.float32, (3, 4, 4), elements=st.floats(0, 1, width=32)), st.floats(0.4, 1))
@settings(deadline=None, max_examples=40)
def test_reading_c_is_a_rule_per_pixel(raw, threshold) -> None:
    posterior = (raw + 0.01) / (raw + 0.01).sum(axis=0)
    mask = posterior_mask(posterior, threshold)
    for y, x in np.ndindex(4, 4):
        best = int(posterior[:, y, x].argmax())
        sure = posterior[best, y, x] >= np.float32(threshold)
        assert mask[y, x] == (best if sure else 255)


@pytest.mark.parametrize(
    ("labels", "probs", "speaks"),
    [
        ((1, 0), (0.0, 1.0), True),  # one class: its label is true of every pixel
        ((0, 1), (1.0, 0.0), True),
        ((1, 1), (0.7, 0.7), True),
        ((1, 1), (0.7, 0.69), False),
        ((1, 1), (0.1, 0.9), False),
        ((1, 1), (0.0, 0.0), False),
        ((0, 0), (0.0, 0.0), True),  # no class to confirm
    ],
)
def test_reading_b_asks_the_classifier_about_patches_of_several_classes(
    labels, probs, speaks
) -> None:
    found = gate(np.array([probs], np.float32), np.array([labels]), 0.70)
    assert found.tolist() == [speaks]


def test_among_allowed_classes_the_posterior_adds_to_one() -> None:
    scores = column((0.2, 0.3, 0.5), (0.2, 0.3, 0.5), (0.2, 0.3, 0.5), (0.0, 1.0, 0.0))
    allowed = np.array([[1, 1, 1], [1, 1, 0], [0, 0, 0], [1, 0, 0]], bool).T[:, None]
    found = among_allowed(scores, allowed)[:, 0].T
    np.testing.assert_allclose(found[0], [0.2, 0.3, 0.5], rtol=1e-5)
    np.testing.assert_allclose(found[1], [0.4, 0.6, 0.0], rtol=1e-5)
    np.testing.assert_allclose(found[2], [0.0, 0.0, 0.0])
    # A lone allowed class is certain, however little of it the network sees.
    np.testing.assert_allclose(found[3], [1.0, 0.0, 0.0], rtol=1e-5)


def released_masks(stack: np.ndarray, present: np.ndarray, white: np.ndarray) -> np.ndarray:
    """Han et al. as released: absent rows 0, a fifth row of 1.000001 on white, argmax."""
    scaled = (stack - stack.min()) / (stack.max() - stack.min())
    rows = [scaled[k] * present[k] for k in range(4)]
    return np.argmax([*rows, np.where(white, 1.000001, 0)], axis=0)


def test_joint_masks_are_the_released_ones_but_for_their_tie() -> None:
    random = np.random.default_rng(0)
    stack = random.normal(size=(4, 9, 9)).astype(np.float32)
    stack[2, 4, 4] = stack.min() - 1  # the lone present class has the least score of all
    scores = (stack - stack.min()) / (stack.max() - stack.min())
    for present in np.array([[0, 0, 1, 0], [1, 0, 1, 0], [0, 1, 1, 1]]):
        allowed = np.broadcast_to(present[:, None, None] > 0, stack.shape)
        released = released_masks(stack, present, np.zeros((9, 9), bool))
        np.testing.assert_array_equal(joint_mask(scores, allowed, 0, exclude=False), released)
        ours = joint_mask(scores, allowed, 0)
        assert np.isin(ours, np.flatnonzero(present)).all()
        differs = np.argwhere(ours != released)
        assert all(tuple(place) == (4, 4) for place in differs)
    alone = np.broadcast_to((np.arange(4) == 2)[:, None, None], stack.shape)
    assert joint_mask(scores, alone, 0, exclude=False)[4, 4] == 0  # the trap: class 0 is absent
    assert (joint_mask(scores, alone, 0) == 2).all()


def test_joint_masks_leave_out_what_is_below_the_threshold() -> None:
    scores = np.array([[[0.2, 0.9]], [[0.4, 0.8]]], np.float32)
    allowed = np.array([[[True, True]], [[True, True]]])
    assert joint_mask(scores, allowed, 0.5).tolist() == [[255, 0]]
