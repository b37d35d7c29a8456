import numpy as np
import pytest
import torch

from histoweak.cams.gated import gated_activations, passing


@pytest.mark.parametrize("peak", ["class", "image"])
@pytest.mark.parametrize("floor", [0.0, 0.01])
def test_activations_are_those_of_a_loop(peak, floor) -> None:
    random = np.random.default_rng(0)
    maps = random.normal(size=(3, 4, 5, 6)).astype(np.float32)
    maps[0, 1] = -1  # no evidence at all
    probs = random.random((3, 4)).astype(np.float32)
    passes = np.array([[1, 1, 0, 1], [0, 0, 1, 0], [0, 0, 0, 0]], bool)
    expected = np.zeros_like(maps)
    for b in range(3):
        for k in np.flatnonzero(passes[b]):
            rivals = [k] if peak == "class" else np.flatnonzero(passes[b])
            top = max(1e-7, max(np.maximum(maps[b, r], 0).max() for r in rivals))
            expected[b, k] = probs[b, k] * np.maximum(np.maximum(maps[b, k], 0) / top, floor)
    tensors = (torch.from_numpy(v) for v in (maps, probs, passes))
    found = gated_activations(*tensors, peak=peak, floor=floor).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert (found <= probs[:, :, None, None] + 1e-6).all()


def test_by_its_own_peak_every_class_reaches_its_probability_however_weak_its_map() -> None:
    """Trap of the paper's form: ranks between classes are those of the probabilities alone."""
    maps = torch.tensor([[[[8.0, 2.0]], [[0.001, 0.01]]]])
    probs, passes = torch.tensor([[0.7, 0.8]]), torch.ones(1, 2, dtype=torch.bool)
    own = gated_activations(maps, probs, passes, peak="class")
    assert own.amax(dim=(2, 3)).tolist() == [pytest.approx([0.7, 0.8])]
    assert own[0, :, 0, 1].argmax() == 1
    assert gated_activations(maps, probs, passes, peak="image")[0, :, 0, 1].argmax() == 0


def test_classes_pass_at_their_threshold_or_by_force() -> None:
    probs = torch.tensor([[0.5, 0.5, 0.1], [0.1, 0.2, 0.1]])
    thresholds, forced = torch.tensor([0.4, 0.6, 0.9]), torch.tensor([False, False, True])
    found = passing(probs, thresholds, forced, at_least_one=False)
    assert found.tolist() == [[True, False, True], [False, False, True]]
    nobody = torch.zeros(3, dtype=torch.bool)
    found = passing(probs, thresholds, nobody, at_least_one=True)
    # 0.1 of 0.4, 0.2 of 0.6 and 0.1 of 0.9: the second class comes nearest.
    assert found.tolist() == [[True, False, False], [False, True, False]]
    assert not passing(probs[1:], thresholds, nobody, at_least_one=False).any()
