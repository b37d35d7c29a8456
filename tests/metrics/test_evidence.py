import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from histoweak.metrics.evidence import (
    EvidenceTally,
    energy_pointing,
    evidence_scores,
    pointing_game,
)
from tests.oracles import evidence_metrics

LEFT = np.array([[True, True, False, False]])


def test_pointing_game_hand_counted() -> None:
    assert pointing_game(np.array([[0.1, 0.9, 0.3, 0.0]]), LEFT) == 1
    assert pointing_game(np.array([[0.1, 0.2, 0.3, 0.0]]), LEFT) == 0
    assert pointing_game(np.array([[0.1, 0.2, 0.3, 0.0]]), LEFT, tolerance_px=1) == 1
    assert pointing_game(np.array([[0.1, 0.2, 0.2, 0.3]]), LEFT, tolerance_px=1) == 0


def test_a_flat_map_gains_nothing_from_the_order_of_pixels() -> None:
    for value in (0.0, 0.7):
        flat = np.full((1, 4), value)
        assert pointing_game(flat, LEFT) == 0.5
        assert energy_pointing(flat, LEFT) == (0.5, 0.0)


def test_lift_tells_what_the_share_of_energy_hides() -> None:
    truth = np.arange(10)[None] < 8
    blind, sharp = np.ones((1, 10)), np.array([[0.25] * 4 + [0.0] * 6])
    assert energy_pointing(blind, truth) == pytest.approx((0.8, 0.0))
    assert energy_pointing(sharp, truth) == pytest.approx((1.0, 0.2))


def patch(area: int, evidence: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """Ten pixels, `area` of class 1 first, the rest of class 0; evidence for class 1 only."""
    truth = (np.arange(10)[None] < area).astype(np.uint8)
    return np.stack([np.zeros((1, 10)), np.array([evidence])]), truth


def test_evidence_accuracy_hand_counted() -> None:
    tally = EvidenceTally(2)
    half, sure, unsure = [0.5] * 5 + [0.0] * 5, np.array([0.9, 0.9]), np.array([0.9, 0.1])
    cases = [
        (patch(5, half), sure),  # right
        (patch(5, half), unsure),  # evidence right, call wrong
        (patch(5, half[::-1]), sure),  # right for the wrong reason
        (patch(10, half), sure),  # tumour fills the patch: no lift to be had
        (patch(0, [0.05] * 10), unsure),  # right, leakage just within
        (patch(0, [0.06] * 10), unsure),  # leaks
        (patch(0, [0.0] * 10), sure),  # call wrong
    ]
    for (scores, truth), probs in cases:
        tally.update(scores.astype(np.float32), truth, probs)
    found = {name: float(values[1]) for name, values in evidence_scores(tally).items()}
    assert found["evidence_accuracy"] == pytest.approx(2 / 7)
    assert found["evidence_accuracy_positive"] == pytest.approx(1 / 4)
    assert found["evidence_accuracy_negative"] == pytest.approx(1 / 3)
    assert found["out_of_reach"] == pytest.approx(1 / 4)
    assert found["leakage"] == pytest.approx(0.11 / 3)
    assert found["energy_pointing"] == pytest.approx((1 + 1 + 0 + 1) / 4)
    assert found["energy_lift"] == pytest.approx((0.5 + 0.5 - 0.5 + 0) / 4)
    assert found["pointing_game"] == pytest.approx(3 / 4)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_agrees_with_loops(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    patches = []
    tally = EvidenceTally(3, threshold=0.4)
    for _ in range(n):
        values = rng.choice(np.array([0, 1, 2, 255], np.uint8), rng.integers(1, 4))
        truth = rng.choice(values, (3, 4))
        scores = rng.integers(0, 5, (3, 3, 4)) / 4 * rng.choice([0.0, 0.1, 1.0])
        probs = rng.random(3)
        tally.update(scores, truth, probs)
        patches.append((scores, truth, probs))
    found = evidence_scores(tally)
    for k in range(3):
        own = [(s[k], t, float(p[k])) for s, t, p in patches]
        expected = evidence_metrics.scores(own, k, 0.4)
        assert expected.keys() == found.keys()
        for name, value in expected.items():
            np.testing.assert_allclose(found[name][k], value, atol=1e-12, err_msg=name)


def test_tallies_of_patients_add_and_score_apart() -> None:
    a, b = EvidenceTally(2), EvidenceTally(2)
    a.update(*patch(5, [0.5] * 5 + [0.0] * 5), np.array([0.9, 0.9]))
    b.update(*patch(5, [0.0] * 5 + [0.5] * 5), np.array([0.9, 0.9]))
    stacked = np.stack([a.tallies, b.tallies, (a + b).tallies])
    assert evidence_scores(stacked)["energy_pointing"][:, 1].tolist() == [1, 0, 0.5]


def test_a_patch_without_scored_pixels_is_left_out() -> None:
    tally = EvidenceTally(1)
    tally.update(np.ones((1, 2, 2)), np.full((2, 2), 255, np.uint8), np.ones(1))
    assert all(math.isnan(values[0]) for values in evidence_scores(tally).values())


def test_refuses_bad_input() -> None:
    tally = EvidenceTally(2)
    with pytest.raises(ValueError, match="do not fit"):
        tally.update(np.zeros((2, 3, 3)), np.zeros((3, 4), np.uint8), np.zeros(2))
    with pytest.raises(ValueError, match=r"outside 0\.\.1"):
        tally.update(np.full((2, 3, 3), np.nan), np.zeros((3, 3), np.uint8), np.zeros(2))
