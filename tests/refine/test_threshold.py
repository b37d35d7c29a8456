import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from histoweak.refine.threshold import among_allowed, gate, min_max_mask, posterior_mask


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
