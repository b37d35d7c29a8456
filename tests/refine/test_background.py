import numpy as np
import pytest

from histoweak.refine.background import (
    BackgroundConfig,
    against_background,
    background_score,
    weigh_by_nuclei,
)


@pytest.fixture
def scores() -> np.ndarray:
    return np.random.default_rng(0).random((3, 8, 9)).astype(np.float32)


@pytest.mark.parametrize("negative", [None, 1])
def test_published_rules_pixel_by_pixel(scores, negative) -> None:
    """Cut below 0.20, argmax with 1 - saliency, ignore crowded pixels and lost salient ones."""
    scores *= np.random.default_rng(1).random((3, 8, 9)) < 0.6  # some pixels have no class
    salient = np.random.default_rng(2).integers(0, 256, (8, 9)).astype(np.uint8)
    config = BackgroundConfig(kind="saliency", salient=50)
    background = background_score(config, salient, (8, 9))
    mask = against_background(scores, background, 0.2, negative, 0.7)
    seen = set()
    for y, x in np.ndindex(8, 9):
        inside = salient[y, x] > 50
        channels = {k: scores[k, y, x] for k in range(3) if k != negative}
        channels = {k: s if s >= 0.2 else 0.0 for k, s in channels.items()}
        channels["background"] = 0.0 if inside else 1.0
        best = max(channels, key=channels.__getitem__)
        if sum(s > 0.7 for s in channels.values()) > 2:
            expected = 255
        elif best == "background":
            expected = 255 if negative is None else negative
        else:
            expected = best if channels[best] > 0 else 255
        assert mask[y, x] == expected
        seen.add(expected)
    assert 255 in seen and len(seen) >= 3


def test_outside_of_what_is_salient_no_class_can_win(scores) -> None:
    background = background_score(
        BackgroundConfig(kind="saliency"), np.zeros((8, 9), np.uint8), (8, 9)
    )
    assert (against_background(scores, background, 0.2, 0) == 0).all()


@pytest.mark.parametrize("tau", [0.3, 0.5, 0.7])
def test_a_constant_background_is_a_threshold(scores, tau) -> None:
    background = background_score(BackgroundConfig(kind="constant", score=tau), None, (8, 9))
    mask = against_background(scores, background, 0.0, 2)
    strongest = scores[:2].max(axis=0)
    assert np.array_equal(mask, np.where(strongest > tau, scores[:2].argmax(axis=0), 2))


def test_saliency_needs_its_map() -> None:
    with pytest.raises(ValueError, match="saliency map"):
        background_score(BackgroundConfig(kind="saliency"), None, (2, 2))


def test_nuclei_weigh_classes_but_never_the_negative_one(scores) -> None:
    density = np.random.default_rng(3).random((8, 9)).astype(np.float32)
    weighed = weigh_by_nuclei(scores, density, 0.4, 1)
    assert np.array_equal(weighed[1], scores[1])
    for k in (0, 2):
        np.testing.assert_allclose(weighed[k], scores[k] * (0.6 + 0.4 * density), rtol=1e-6)
    assert np.array_equal(weigh_by_nuclei(scores, density, 0.0, 1), scores)
