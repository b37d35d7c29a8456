import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from histoweak.refine.random_walk import Transition, chebyshev_weights, random_walk
from tests.oracles.inter_pixel import dense_transition


def dense_walk(scores: np.ndarray, boundary: np.ndarray, radius, beta, steps) -> np.ndarray:
    """(K, h, w) scores times the power of the dense matrix."""
    matrix = np.linalg.matrix_power(dense_transition(boundary, radius, beta), steps)
    return (scores.reshape(len(scores), -1) @ matrix).reshape(scores.shape)


def example(height: int, width: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    boundary = torch.rand(1, height, width, generator=generator) ** 3
    return torch.rand(1, 2, height, width, generator=generator), boundary


@pytest.mark.parametrize("steps", [0, 1, 2, 7, 33, 256])
def test_walk_is_the_power_of_the_dense_matrix(steps) -> None:
    scores, boundary = example(13, 11)
    walked = random_walk(scores, boundary, radius=5, beta=10, steps=steps, tolerance=0)
    expected = dense_walk(scores[0].numpy(), boundary[0].numpy(), 5, 10, steps)
    assert np.abs(walked[0].numpy() - expected).max() < 1e-4


@given(
    st.integers(1, 7), st.integers(1, 7), st.integers(2, 4), st.integers(0, 60), st.integers(0, 9)
)
@settings(deadline=None, max_examples=25)
def test_any_size_radius_and_length_fit(height, width, radius, steps, seed) -> None:
    scores, boundary = example(height, width, seed)
    walked = random_walk(scores, boundary, radius=radius, beta=3, steps=steps, tolerance=0)
    expected = dense_walk(scores[0].numpy(), boundary[0].numpy(), radius, 3, steps)
    assert np.abs(walked[0].numpy() - expected).max() < 2e-5


def test_ending_early_stays_within_the_tolerance() -> None:
    scores, _ = example(6, 6)
    applied = []
    original = Transition.__call__

    def counted(self, values):
        applied.append(1)
        return original(self, values)

    open_field = torch.zeros(1, 6, 6)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Transition, "__call__", counted)
        walked = random_walk(scores, open_field, radius=5, beta=1, steps=24, tolerance=1e-4)
    expected = dense_walk(scores[0].numpy(), open_field[0].numpy(), 5, 1, 24)
    assert len(applied) < 24
    assert np.abs(walked[0].numpy() - expected).max() < 1e-4


def test_images_and_classes_side_by_side_walk_as_alone() -> None:
    scores = torch.cat([example(8, 9, seed)[0] for seed in range(3)])
    boundary = torch.cat([example(8, 9, seed)[1] for seed in range(3)])
    together = random_walk(scores, boundary, steps=5, tolerance=0)
    for image in range(3):
        one = slice(image, image + 1)
        for label in range(2):
            alone = random_walk(scores[one, label : label + 1], boundary[one], steps=5, tolerance=0)
            assert torch.equal(together[one, label : label + 1], alone)


def test_scores_that_sum_to_one_go_on_doing_so() -> None:
    scores, boundary = example(12, 12)
    shares = torch.cat([scores[:, :1], 1 - scores[:, :1]], dim=1)
    for steps in (3, 200):
        walked = random_walk(shares, boundary, steps=steps)
        assert torch.allclose(walked.sum(dim=1), torch.ones(1, 12, 12), atol=1e-5)
    constant = torch.full((1, 1, 12, 12), 0.3)
    assert torch.equal(random_walk(constant, boundary, steps=20, tolerance=0), constant)


def test_a_closed_wall_is_not_crossed() -> None:
    boundary = torch.zeros(1, 9, 9)
    boundary[0, :, 4] = 1
    scores = torch.zeros(1, 1, 9, 9)
    scores[..., :4] = 1
    walked = random_walk(scores, boundary, radius=5, beta=10, steps=64)
    assert torch.allclose(walked, scores, atol=1e-5)


def test_weights_of_a_long_walk_are_chances_of_a_fair_one() -> None:
    weights = chebyshev_weights(256)
    assert len(weights) == 79 and 1 - 1e-6 < sum(weights) < 1
    points = np.linspace(-1, 1, 41)
    angles = np.arccos(points)
    power = sum(w * np.cos(k * angles) for k, w in enumerate(weights))
    assert np.abs(power - points**256).max() < 1e-6
    assert len(chebyshev_weights(8)) == 9 and sum(chebyshev_weights(8)) == 1
