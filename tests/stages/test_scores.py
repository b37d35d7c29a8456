import numpy as np
import pytest
import torch

from histoweak.data.frames import Frame
from histoweak.inference.layers import layer_maps
from histoweak.inference.model import TissueModel
from histoweak.nets.layer_classifier import LayerClassifier, LayerNetConfig
from histoweak.stages.scores import (
    LayerScoresConfig,
    ScoresConfig,
    frame_maps,
    read_scores,
    to_scores,
    window_probs,
    write_scores,
)
from tests.data.test_crops import frame, write_store
from tests.inference.models import CLASSES, classifier, picture


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


def layers() -> TissueModel:
    torch.manual_seed(0)
    own = {"encoder": "resnet38d", "strides": (8,), "head": "last", "width_factor": 0.02}
    net = LayerNetConfig(**own, attention="none")
    return TissueModel(LayerClassifier(net, len(CLASSES)), net, CLASSES)


@pytest.mark.parametrize("of_layers", [False, True])
@pytest.mark.parametrize(("tta", "views"), [("none", 1), ("flips", 4)])
def test_frames_of_one_size_share_a_pass_and_keep_their_maps(
    tmp_path, of_layers, tta, views
) -> None:
    """A pass holds two tiles of 64 x 64 pixels, which are four frames of 40 x 48."""
    sizes = [(40, 48)] * 6 + [(64, 64), (96, 80)] + [(40, 48)] * 2
    images = [picture(*size, seed=i) for i, size in enumerate(sizes)]
    store = write_store(tmp_path, [frame([(0, 0, w, h)], h, w) for h, w in sizes], images)
    model = layers() if of_layers else classifier()
    config = (LayerScoresConfig if of_layers else ScoresConfig)(tta=tta, tile=64)
    seen: list[int] = []
    model.network.encoder.register_forward_hook(lambda _, given, __: seen.append(len(given[0])))
    found = list(frame_maps(model, store, config))
    # The frame that is larger than a tile is tiled as ever: twice two tiles.
    assert sum(seen) == views * (6 + 1 + 4 + 2)
    if tta == "none":
        assert seen == [4, 2, 1, 2, 2, 2]
    assert len(found) == len(images)
    for image, (several, maps) in zip(images, found, strict=True):
        if of_layers:
            alone, own = layer_maps(model, image, tta=tta, tile=64)
        else:
            own = model.maps(image, tta=tta, tile=64)
            alone = own[None]
        np.testing.assert_allclose(several, alone, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(maps, own, rtol=1e-4, atol=1e-5)
