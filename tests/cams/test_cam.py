import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from histoweak.cams.cam import (
    class_maps,
    joint_scores,
    min_max_scores,
    peak_scores,
    posterior_scores,
)


def maps(batch: int, classes: int, gain: float = 5.0) -> torch.Tensor:
    return torch.randn(batch, classes, 3, 4, generator=torch.Generator().manual_seed(1)) * gain


def test_class_maps_are_the_weighted_sum_of_features() -> None:
    features, weight, bias = torch.randn(2, 5, 3, 4), torch.randn(3, 5), torch.randn(3)
    found = class_maps(features, weight, bias)
    for b, c, y, x in np.ndindex(2, 3, 3, 4):
        total = sum(weight[c, k] * features[b, k, y, x] for k in range(5))
        torch.testing.assert_close(found[b, c, y, x], total + bias[c])
    torch.testing.assert_close(class_maps(features, weight), found - bias.view(1, 3, 1, 1))


def test_min_max_scores_are_those_of_a_loop() -> None:
    tensor = maps(2, 3)
    tensor[0, 1] = -1.0  # no evidence at all
    tensor[1, 2] = 4.0  # the same evidence everywhere
    found = min_max_scores(tensor)
    for b, c in np.ndindex(2, 3):
        cells = [max(0.0, float(v)) for v in tensor[b, c].flatten()]
        low, high = min(cells), max(cells)
        expected = [(v - low) / (high - low) if high > low else 0.0 for v in cells]
        np.testing.assert_allclose(found[b, c].flatten(), expected, atol=1e-6)


@given(st.floats(0.001, 1000), st.integers(0, 99))
@settings(deadline=None, max_examples=20)
def test_min_max_scores_do_not_know_how_strong_the_evidence_is(gain: float, seed: int) -> None:
    tensor = torch.rand(1, 2, 3, 3, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(
        min_max_scores(tensor * gain), min_max_scores(tensor), rtol=1e-3, atol=1e-3
    )


def test_the_posterior_of_two_classes_is_the_sigmoid_of_their_difference() -> None:
    tensor = maps(2, 2)
    expected = torch.sigmoid(tensor[:, 1] - tensor[:, 0])
    found = posterior_scores(tensor)
    torch.testing.assert_close(found[:, 1], expected)
    torch.testing.assert_close(found[:, 0], 1 - expected)
    # A shift that all maps share says nothing.
    shift = torch.randn(2, 1, 3, 4)
    torch.testing.assert_close(posterior_scores(tensor + shift), found, rtol=1e-4, atol=1e-5)


def test_classes_that_are_not_allowed_get_nothing() -> None:
    tensor = maps(2, 4, gain=30.0)
    allowed = torch.tensor([[True, False, True, False], [False] * 4])[:, :, None, None]
    found = posterior_scores(tensor, allowed)
    for y, x in np.ndindex(3, 4):
        exp = np.exp(tensor[0, [0, 2], y, x].double().numpy() - float(tensor[0, :, y, x].max()))
        np.testing.assert_allclose(found[0, [0, 2], y, x], exp / exp.sum(), rtol=1e-4, atol=1e-7)
    assert (found[0, [1, 3]] == 0).all()
    torch.testing.assert_close(found[1], tensor[1].softmax(0))  # where none is, all are
    assert found.isfinite().all()


def test_what_is_allowed_may_differ_from_pixel_to_pixel() -> None:
    tensor = maps(1, 3)
    allowed = torch.rand(1, 3, 3, 4, generator=torch.Generator().manual_seed(2)) > 0.5
    allowed[0, 0, 0] = True
    found = posterior_scores(tensor, allowed)
    for y, x in np.ndindex(3, 4):
        if allowed[0, :, y, x].any():
            assert (found[0, ~allowed[0, :, y, x], y, x] == 0).all()
    torch.testing.assert_close(found.sum(1), torch.ones(1, 3, 4))


def test_peak_scores_are_those_of_a_loop() -> None:
    tensor = maps(2, 3)
    tensor[0, 1] = -1.0  # no evidence at all
    tensor[1, 2] = 4.0  # the same evidence everywhere
    found = peak_scores(tensor)
    for b, c, y, x in np.ndindex(2, 3, 3, 4):
        top = max(0.0, *tensor[b, c].flatten().tolist())
        expected = max(0.0, float(tensor[b, c, y, x])) / (top + 1e-5)
        assert abs(float(found[b, c, y, x]) - expected) < 1e-6
    assert not found[0, 1].any() and (found[1, 2] > 0.99).all()


def test_joint_scores_have_one_range_and_keep_the_order_of_classes() -> None:
    tensor = maps(2, 3)
    tensor[1] = 4.0  # the same everywhere: a range of zero
    found = joint_scores(tensor)
    values = [float(v) for v in tensor[0].flatten()]
    low, high = min(values), max(values)
    expected = [(v - low) / (high - low) for v in values]
    np.testing.assert_allclose(found[0].flatten(), expected, atol=1e-6)
    assert (found[1] == 0).all()
    assert found[0].argmax(0).equal(tensor[0].argmax(0))
