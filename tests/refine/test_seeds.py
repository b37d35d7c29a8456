import numpy as np
import pytest

from histoweak.refine.seeds import WonScores, sure_seeds, two_threshold_seeds

ALL = np.ones((2, 1, 4), bool)


def posterior(first: list[float]) -> np.ndarray:
    return np.array([[first], [[1 - p for p in first]]], np.float32)


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9, 1.0])
def test_thresholds_keep_the_wanted_share_of_each_class(keep) -> None:
    random = np.random.default_rng(0)
    images = [random.dirichlet([1, 2, 3], (20, 30)).transpose(2, 0, 1) for _ in range(3)]
    won = WonScores(3)
    for image in images:
        won.update(image.astype(np.float32), np.ones((3, 20, 30), bool))
    thresholds = won.thresholds(keep)
    scores = np.concatenate([image.reshape(3, -1) for image in images], axis=1)
    best = scores.argmax(axis=0)
    for label in range(3):
        own = scores[label, best == label]
        expected = np.quantile(own, 1 - keep)
        assert thresholds[label] == pytest.approx(expected, abs=0.02)
        assert (own >= thresholds[label]).mean() >= keep


def test_only_pixels_with_a_choice_decide_the_thresholds() -> None:
    won = WonScores(2)
    allowed = np.array([[[True, True, False, True]], [[True, False, True, True]]])
    won.update(posterior([0.9, 1.0, 0.0, 0.2]), allowed)
    assert won.thresholds(1.0) == pytest.approx([0.9, 0.8], abs=0.002)
    assert WonScores(2).thresholds(0.5).tolist() == [1, 1]


def test_sure_seeds_reach_their_threshold_or_have_no_rival() -> None:
    scores = posterior([0.9, 0.6, 0.3, 1.0])
    allowed = ALL.copy()
    allowed[1, 0, 3] = False
    thresholds = np.array([0.95, 0.65], np.float32)
    assert sure_seeds(scores, allowed, thresholds).tolist() == [[255, 255, 1, 0]]
    nothing = np.zeros_like(ALL)
    assert (sure_seeds(scores, nothing, thresholds) == 255).all()


def against(maps: np.ndarray, constant: float):
    return maps, np.full(maps.shape[1:], constant, np.float32)


def test_two_thresholds_are_those_of_the_source() -> None:
    maps = np.array(
        [[[9, 9, 9, 9, 9]], [[0.5, 0.2, 0.01, 0.31, 0.3]], [[0.4, 0.1, 0.04, 0.32, 0]]], np.float32
    )
    seeds = two_threshold_seeds(against(maps, 0.3), against(maps, 0.05), background=0)
    # Above 0.30: the strongest; below 0.05: background; in between, and at 0.30 itself: no seed.
    assert seeds.tolist() == [[1, 255, 0, 2, 255]]


def test_each_threshold_may_have_scores_of_its_own() -> None:
    high = np.array([[[0, 0]], [[0.2, 0.9]]], np.float32)
    low = np.array([[[0, 0]], [[0.0, 0.0]]], np.float32)
    seeds = two_threshold_seeds(against(high, 0.3), against(low, 0.05), background=0)
    assert seeds.tolist() == [[0, 1]]
