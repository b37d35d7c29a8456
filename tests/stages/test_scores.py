import numpy as np
import pytest
import torch

from histoweak.data.frames import Frame
from histoweak.stages.scores import read_scores, to_scores, window_probs, write_scores
from tests.inference.models import classifier, picture


@pytest.mark.parametrize(
    "shape",
    [(1, 1, 1), (1, 5, 7), (2, 5, 7), (3, 1, 5), (3, 5, 1), (3, 8, 8), (4, 8, 8), (9, 2, 3)],
)
def test_scores_come_back_to_within_half_a_step(tmp_path, shape) -> None:
    scores = np.random.default_rng(0).random(shape).astype(np.float32)
    scores.flat[0], scores.flat[-1] = 0.0, 1.0
    write_scores(tmp_path / "s.tif", scores)
    found = read_scores(tmp_path / "s.tif")
    assert found.dtype == np.float32 and found.shape == shape
    assert np.abs(found - scores).max() <= 0.5 / 65535 + 1e-7
    assert found.flat[0] == scores.flat[0]


def test_the_reading_decides_how_maps_become_scores() -> None:
    maps = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32) * 4
    exp = np.exp(maps - maps.max(axis=0))
    np.testing.assert_allclose(to_scores(maps, "posterior"), exp / exp.sum(axis=0), rtol=1e-4)
    positive = maps.clip(min=0)
    low, high = positive.min(axis=(1, 2)), positive.max(axis=(1, 2))
    expected = (positive - low[:, None, None]) / (high - low)[:, None, None]
    np.testing.assert_allclose(to_scores(maps, "min-max"), expected, atol=1e-5)


@pytest.mark.parametrize("exclusive", [False, True])
def test_a_window_has_the_probabilities_of_its_own_cells(exclusive) -> None:
    model = classifier(exclusive=exclusive, gain=20.0)
    image = picture(64, 96)
    maps = model.maps(image)
    assert maps.shape == (3, 4, 6) and model.stride == 16
    frame = Frame(
        name="f",
        patient="p",
        slide="s",
        split="train",
        height=64,
        width=96,
        offset=0,
        mpp=None,
        boxes=((0.0, 0.0, 96.0, 64.0), (16.0, 0.0, 48.0, 32.0), (64.0, 48.0, 80.0, 64.0)),
        labels=((1, 0, 0),) * 3,
        windows=("a", "b", "c"),
    )
    areas = [np.s_[:, :, :], np.s_[:, 0:2, 1:3], np.s_[:, 3:4, 4:5]]
    logits = torch.from_numpy(np.stack([maps[area].mean(axis=(1, 2)) for area in areas]))
    expected = logits.softmax(1) if exclusive else logits.sigmoid()
    np.testing.assert_allclose(window_probs(model, maps, frame, image), expected, atol=1e-5)
