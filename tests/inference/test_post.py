import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from histoweak.errors import WeightsError
from histoweak.inference.activations import activation_maps
from histoweak.inference.config import InferenceConfig
from histoweak.inference.model import TissueModel, load_model
from histoweak.inference.post import may_appear
from histoweak.inference.post_config import SavedPost
from histoweak.inference.tiling import tile_starts, tile_weights
from histoweak.nets.histosegnet import HistoSegNet, HistoSegNetConfig
from histoweak.refine.adjust import AdjustConfig, BackgroundConfig, OtherConfig, adjust
from histoweak.refine.chain import refine
from tests.inference.models import CLASSES, classifier, picture

THRESHOLDS = (0.4, 0.45, 0.5)
NO_BACKGROUND = AdjustConfig(background=None)


def post(tile: int = 64, window: int = 64, **more) -> SavedPost:
    more = {"refine": ()} | more
    return SavedPost(tile=tile, window=window, thresholds=THRESHOLDS, **more)


def histosegnet(given: SavedPost | None = None, pooling: str = "max") -> TissueModel:
    torch.manual_seed(0)
    net = HistoSegNetConfig(vgg_width=0.125, pooling=pooling)
    network = HistoSegNet(net, len(CLASSES)).eval()
    torch.nn.init.normal_(network.head.weight)
    return TissueModel(network, net, CLASSES, post=given)


def tensor(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 255


def patch_activations(model: TissueModel, image: np.ndarray) -> np.ndarray:
    """What the paper does with one patch, with the settings of `post`."""
    network = model.network
    with torch.no_grad():
        active = network.activations(tensor(image))
        cells = F.max_pool2d(network.norm(active), 2).amax(dim=(2, 3))
        probs = torch.sigmoid(network.head(cells))[0].numpy()
        maps = F.relu(network.maps(active))[0].numpy()
    passes = probs >= np.array(THRESHOLDS, np.float32)
    if not passes.any():
        passes[np.argmax(probs / THRESHOLDS)] = True
    top = max(maps[k].max() for k in np.flatnonzero(passes))
    out = np.zeros_like(maps)
    for k in np.flatnonzero(passes):
        out[k] = probs[k] * np.maximum(maps[k] / top, 1e-3)
    return out


def activations(model: TissueModel, image: np.ndarray, **options) -> np.ndarray:
    config = InferenceConfig(**options)
    args = (model.network, model.net.strides, model.activate, image, model.post, CLASSES, config)
    with torch.inference_mode():
        return activation_maps(*args).numpy()


def test_one_patch_is_predicted_as_in_the_paper() -> None:
    model, image = histosegnet(post(adjust=NO_BACKGROUND)), picture(64, 64)
    expected = patch_activations(model, image)
    np.testing.assert_allclose(activations(model, image), expected, atol=1e-6)
    large = F.interpolate(torch.from_numpy(expected)[None], scale_factor=4, mode="bilinear")[0]
    winner = adjust(large.numpy(), image, NO_BACKGROUND, CLASSES).argmax(0)
    assert (model.predict(image).array == winner).mean() > 0.999


@pytest.mark.parametrize(("tile", "window"), [(32, 32), (96, 32)])
def test_windows_of_a_large_image_are_judged_one_by_one_and_averaged(tile, window) -> None:
    model, image = histosegnet(post(tile, window)), picture(96, 96, seed=3)
    found = activations(model, image)
    starts, weights = tile_starts(24, 8, 2), tile_weights(24, 8, 2)
    expected = np.zeros_like(found)
    for i, y in enumerate(starts):
        for j, x in enumerate(starts):
            cut = image[y * 4 : y * 4 + 32, x * 4 : x * 4 + 32]
            weight = (weights[i][:, None] * weights[j]).numpy()
            expected[:, y : y + 8, x : x + 8] += patch_activations(model, cut) * weight
    if tile == window:
        np.testing.assert_allclose(found, expected, atol=1e-5)
    else:  # the network sees beyond the borders of the windows
        inner = np.s_[:, 12:14, 12:14]
        assert not np.allclose(found, expected, atol=1e-4)
        assert np.corrcoef(found[inner].ravel(), expected[inner].ravel())[0, 1] > 0.9


def test_adjusting_in_blocks_gives_what_adjusting_at_once_gives() -> None:
    background = BackgroundConfig(level=120.0, slope=0.1)
    given = post(32, 32, adjust=AdjustConfig(background=background, other=OtherConfig()))
    model, image = histosegnet(given), picture(150, 170, seed=1)
    whole = model.adjusted(image)
    assert whole.shape == (5, 150, 170) and whole.min() >= 0 and whole.max() <= 1
    np.testing.assert_allclose(model.adjusted(image, tile=64), whole, atol=1e-5)
    np.testing.assert_allclose(model.probs(image, tile=64).sum(0), 1, atol=1e-5)


def test_maps_that_hold_something_are_refined_by_the_chain() -> None:
    chain = ({"kind": "crf", "preset": "histosegnet"}, {"kind": "superpixels"})
    given = post(adjust=NO_BACKGROUND, forced=("tumour", "stroma"), refine=chain)
    model, image = histosegnet(given), picture(64, 64)
    before = replace(model, post=given.model_copy(update={"refine": ()})).adjusted(image)
    present = before.any(axis=(1, 2))
    assert not present.all()
    expected = np.zeros_like(before)
    expected[present] = refine(image, before[present], given.refine)
    np.testing.assert_allclose(model.adjusted(image), expected, atol=1e-6)
    assert (model.predict(image).array == expected.argmax(0)).all()


def test_background_has_no_class_and_absent_classes_cannot_win() -> None:
    model = histosegnet(post(adjust=AdjustConfig(background=BackgroundConfig(level=240.0))))
    image = picture(64, 96).copy()
    image[:, 48:] = 255
    mask = model.predict(image).array
    assert (mask[:, 60:] == 255).mean() > 0.9 and (mask[:, :30] < 3).all()
    assert set(np.unique(model.predict(image, present=[False, True, False]).array)) <= {1, 255}


def test_pixels_on_which_nothing_scores_are_background_where_there_is_one() -> None:
    # No class passes, the image is dark and nothing is other tissue: the released code's first
    # map, that of background, wins.
    background = AdjustConfig(background=BackgroundConfig(level=240.0, height=1e-3))
    given = SavedPost(tile=64, window=64, thresholds=(1.0,) * 3, at_least_one=False, floor=0)
    given = given.model_copy(update={"adjust": background})
    model, image = histosegnet(given), np.zeros((64, 64, 3), np.uint8)
    assert not model.adjusted(image).any()
    assert (model.predict(image).array == 255).all()
    alone = replace(model, post=given.model_copy(update={"adjust": NO_BACKGROUND}))
    assert (alone.predict(image).array == 0).all()  # the first class, for want of anything else


def test_the_crf_of_the_source_fills_pixels_on_which_nothing_scores() -> None:
    fill = {"kind": "crf", "preset": "histosegnet", "fill": True}
    more = {"adjust": NO_BACKGROUND, "forced": ("stroma",), "at_least_one": False, "floor": 0}
    model, image = histosegnet(post(**more, refine=(fill,))), picture(64, 64)
    model = replace(model, post=model.post.model_copy(update={"thresholds": (1.0,) * 3}))
    with torch.no_grad():  # a map that is below 0 on average
        seen = model.network.activations(tensor(image)).mean(dim=(0, 2, 3))
        model.network.head.weight[1] -= 1.1 * (model.network.head.weight[1] @ seen) / seen.sum()
    before = replace(model, post=model.post.model_copy(update={"refine": ()}))
    assert (before.adjusted(image).max(0) == 0).any()
    assert (before.predict(image).array == 0).any()
    assert (model.predict(image).array == 1).all()


def test_other_tissue_that_stands_for_a_class_is_gated_as_that_class() -> None:
    values = np.array([0, 1, 2, 255, 2], np.uint8)
    present = np.array([True, False, False])
    assert may_appear(present, values).tolist() == [True, False, False, True, False]
    present[2] = True
    assert may_appear(present, values).tolist() == [True, False, True, True, True]
    values[-1] = 255
    present[2] = False
    assert may_appear(present, values).tolist() == [True, False, False, True, True]


def test_other_tissue_takes_the_class_that_it_stands_for() -> None:
    other = OtherConfig(name="necrosis", share=1.0)
    adjusting = AdjustConfig(background=None, other=other)
    model = histosegnet(post(adjust=adjusting, forced=("tumour",), at_least_one=False))
    found = model.adjusted(picture(64, 64))
    assert (found[2] == 0).all() and found[4].max() > 0
    assert 2 in model.predict(picture(64, 64)).array
    assert 2 not in model.predict(picture(64, 64), present=[True, False, False]).array


@pytest.mark.parametrize("make", [histosegnet, classifier])
@pytest.mark.parametrize("size", [(1, 1), (33, 70)])
def test_images_of_any_size_are_predicted(make, size) -> None:
    model = replace(make(), post=post(adjust=NO_BACKGROUND, tta="flips"))
    assert (model.predict(picture(*size)).array < 3).all()
    assert model.predict(picture(*size), tta="d4").array.shape == size


def test_the_rules_travel_with_the_saved_model(tmp_path) -> None:
    background = BackgroundConfig(level=222.0, exempt=("stroma",))
    given = post(64, 48, adjust=AdjustConfig(background=background), forced=("tumour",))
    given = SavedPost.model_validate(given.model_dump() | {"refine": ["crf:histosegnet", "white"]})
    model, image = histosegnet(given), picture(80, 90)
    model.save(tmp_path / "model")
    again = load_model(tmp_path / "model")
    assert again.post == given and again.kind == "histosegnet"
    assert (again.predict(image).array == model.predict(image).array).all()
    bare = replace(again, post=None)
    assert (bare.predict(image).array != again.predict(image).array).any()


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("thresholds", [0.4, 0.5], "thresholds"),
        ("thresholds", [0.4, 0.5, 0.0], "thresholds"),
        ("tile", None, "tile"),
        ("forced", ["bone"], "bone"),
        ("surprise", 1, "surprise"),
        ("floor", -1, "floor"),
    ],
)
def test_rules_that_cannot_be_right_are_refused(tmp_path, key, value, said) -> None:
    histosegnet(post(adjust=NO_BACKGROUND)).save(tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    description = json.loads(path.read_text())
    description["post"][key] = value
    path.write_text(json.dumps(description))
    with pytest.raises(WeightsError, match=said):
        load_model(tmp_path / "model")


@pytest.mark.parametrize("pooling", ["max", "mean"])
def test_an_image_in_tiles_pools_the_features_of_all_tiles(pooling) -> None:
    model, image = histosegnet(pooling=pooling), picture(96, 128, seed=2)
    network = model.network
    pooled = []
    with torch.no_grad():
        for y in (0, 32, 64):
            for x in (0, 32, 64, 96):
                cut = tensor(image[y : y + 32, x : x + 32])
                pooled.append(network.pool(network.activations(cut))[0])
        features = torch.stack(pooled)
        whole = features.amax(0) if pooling == "max" else features.mean(0)
        expected = torch.sigmoid(network.head(whole)).numpy()
    found = model.patch_probs(image, tile=32, overlap=0)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_orientations_are_averaged_over_logits_and_maps() -> None:
    model, image = histosegnet(), picture(64, 48)
    views = [image, image[:, ::-1], image[::-1], image[::-1, ::-1]]
    logits, maps = [], []
    for number, view in enumerate(views):
        found, probs = model.maps_and_probs(view)
        logits.append(np.log(probs / (1 - probs)))
        back = found[:, :: (-1 if number >= 2 else 1), :: (-1 if number % 2 else 1)]
        maps.append(back)
    found, probs = model.maps_and_probs(image, tta="flips")
    np.testing.assert_allclose(found, np.mean(maps, 0), atol=1e-5)
    np.testing.assert_allclose(np.log(probs / (1 - probs)), np.mean(logits, 0), atol=1e-4)


def test_windows_of_one_pass_are_pooled_in_their_surroundings() -> None:
    model, image = histosegnet(), picture(70, 90, seed=4)
    boxes = np.array([[0, 0, 64, 64], [16, 8, 48, 40]], np.float32)
    padded = np.pad(image, ((0, 2), (0, 6), (0, 0)), mode="edge")  # up to multiples of 8
    network = model.network
    with torch.no_grad():
        cells = network.pooled_map(network.activations(tensor(padded)))[0]
        pooled = torch.stack([cells[:, :8, :8].amax((1, 2)), cells[:, 1:5, 2:6].amax((1, 2))])
        expected = torch.sigmoid(network.head(pooled)).numpy()
    np.testing.assert_allclose(model.window_probs(image, boxes), expected, atol=1e-6)
