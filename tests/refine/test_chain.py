import numpy as np
import pytest
import torch

from histoweak.config import build_config
from histoweak.errors import ConfigError
from histoweak.refine.chain import refine
from histoweak.refine.config import (
    Chain,
    StrictConfig,
    SuperpixelConfig,
    WalkRefinerConfig,
    WhiteRefinerConfig,
)
from histoweak.refine.crf_config import PRESETS, BilateralConfig, CrfConfig
from histoweak.refine.white import white_mask
from tests.inference.models import picture


class Holder(StrictConfig):
    refine: Chain = ()


def chain(value) -> tuple:
    return build_config(Holder, {"refine": value}, "settings").refine


def example() -> tuple[np.ndarray, np.ndarray]:
    image = picture(40, 50)
    scores = np.random.default_rng(0).random((3, 40, 50)).astype(np.float32)
    return image, scores / scores.sum(0)


def test_a_word_stands_for_its_settings() -> None:
    assert chain("crf") == (CrfConfig(),) and chain("white") == (WhiteRefinerConfig(),)
    assert chain("walk:16") == (WalkRefinerConfig(steps=16),)
    words = ["white:230", "superpixels:24", "crf:irn", "sam:folder"]
    white, superpixel, crf, sam = chain(words)
    assert white.gray == 230 and superpixel == SuperpixelConfig(size=24)
    assert crf == CrfConfig(preset="irn") and crf.bilateral.color == 5
    assert sam.weights == "folder"
    assert chain({"kind": "crf", "preset": "irn", "step": 8})[0].step == 8


@pytest.mark.parametrize("preset", [*PRESETS])
def test_what_a_preset_fills_in_can_be_replaced_and_read_back(preset) -> None:
    filled = CrfConfig(preset=preset)
    assert CrfConfig.model_validate(filled.model_dump()) == filled
    other = CrfConfig.model_validate({"preset": preset, "bilateral": {"color": 7.5}})
    expected = filled.bilateral.model_copy(update={"color": 7.5})
    assert other == filled.model_copy(update={"bilateral": expected})
    assert CrfConfig(preset=preset, bilateral=None).bilateral is None
    own = BilateralConfig(sigma=1, color=2, weight=3)
    assert CrfConfig(preset=preset, bilateral=own).bilateral == own
    assert (filled.space, filled.shrink, filled.blur) == ("rgb", 1, 0) or preset == "hne"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("crff", "crf, superpixels, walk, white, sam"),
        ("crf:voc", "irn"),
        ("superpixels:wide", "superpixels"),
        ("sam", "weights"),
        ([{"kind": "crf", "itertions": 3}], "iterations"),
        ([{"preset": "hne"}], "kind"),
        (7, "refine"),
    ],
)
def test_wrong_refiners_are_explained(value, message) -> None:
    with pytest.raises(ConfigError, match=message):
        chain(value)


def test_arrays_and_tensors_give_the_same() -> None:
    image, scores = example()
    configs = chain(["superpixels", "walk", "crf", "white:150"])
    found = refine(image, scores, configs)
    assert found.shape == scores.shape and found.dtype == np.float32
    assert found.min() >= 0 and found.max() <= 1
    images = torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 255
    both = refine(
        images.repeat(2, 1, 1, 1), torch.from_numpy(scores)[None].repeat(2, 1, 1, 1), configs
    )
    torch.testing.assert_close(both[1], torch.from_numpy(found), atol=1e-5, rtol=0)


def test_refiners_follow_each_other() -> None:
    image, scores = example()
    step = refine(image, refine(image, scores, chain("superpixels")), chain("crf"))
    assert np.array_equal(refine(image, scores, chain(["superpixels", "crf"])), step)
    assert np.array_equal(refine(image, scores, ()), scores)


def test_white_scores_nothing_and_stays_so() -> None:
    image, scores = example()
    config = WhiteRefinerConfig(gray=130, min_pixels=5)
    white = white_mask(image, config)
    assert 0.1 < white.mean() < 0.9
    for configs in ([config], [config, *chain("crf")]):
        found = refine(image, scores, configs)
        assert (found[:, white] == 0).all() and (found[:, ~white].max(0) > 0).all()


def test_sizes_that_do_not_match_are_refused() -> None:
    image, scores = example()
    with pytest.raises(ValueError, match="do not match"):
        refine(image, scores[:, :10], chain("crf"))
