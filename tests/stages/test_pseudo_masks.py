import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from histoweak.classes import ClassSet
from histoweak.data.frames import Frame
from histoweak.errors import ConfigError
from histoweak.refine.white import WhiteConfig
from histoweak.stages.pseudo_masks import (
    PseudoMaskConfig,
    allowed_classes,
    enlarge,
    make_mask,
    pseudo_mask_stage,
)
from histoweak.training.config import RuntimeConfig

CLASSES = ClassSet(("normal", "tumour"))
BARE = {"min_area": 0, "white": None}
TISSUE = np.full((1, 9, 3), 120, np.uint8)


def frame(boxes, labels, height: int = 7, width: int = 9) -> Frame:
    return Frame(
        name="f",
        patient="p",
        slide="s",
        split="train",
        height=height,
        width=width,
        offset=0,
        mpp=None,
        boxes=tuple(tuple(float(v) for v in box) for box in boxes),
        labels=tuple(labels),
        windows=tuple(str(i) for i in range(len(boxes))),
    )


window = st.tuples(
    st.integers(0, 7),
    st.integers(0, 5),
    st.integers(1, 9),
    st.integers(1, 7),
    st.tuples(*[st.integers(0, 1)] * 3),
    st.tuples(*[st.sampled_from([0.0, 0.5, 0.7, 1.0])] * 3),
)


@given(st.lists(window, max_size=5), st.sampled_from([None, 0.7]))
@settings(deadline=None, max_examples=80)
def test_what_labels_allow_is_a_rule_per_pixel(windows, threshold) -> None:
    boxes = [(x, y, min(9, x + w), min(7, y + h)) for x, y, w, h, _, _ in windows]
    labels = [label for *_, label, _ in windows]
    probs = np.array([p for *_, p in windows], np.float32).reshape(-1, 3)
    allowed = allowed_classes(frame(boxes, labels), probs, threshold, 3)
    assert allowed.shape == (3, 7, 9)
    for y, x in np.ndindex(7, 9):
        said = []
        for (x0, y0, x1, y1), label, prob in zip(boxes, labels, probs, strict=True):
            named = {k for k in range(3) if label[k]}
            sure = len(named) == 1 or all(prob[k] >= np.float32(0.7) for k in named)
            if x0 <= x < x1 and y0 <= y < y1 and (threshold is None or sure):
                said.append(named)
        every = set.intersection(*said) if said else set()
        some = set.union(*said) if said else set()
        assert {k for k in range(3) if allowed[k, y, x]} == (every or some)


def test_a_class_common_to_all_patches_is_allowed_whatever_they_name() -> None:
    boxes = [(0, 0, 4, 7), (4, 0, 8, 7)]
    silent = np.zeros((2, 2), np.float32)
    allowed = allowed_classes(frame(boxes, [(0, 1), (1, 0)]), silent, None, 2, common=0)
    assert allowed[0].tolist() == [[True] * 8 + [False]] * 7
    assert allowed[1].tolist() == [[True] * 4 + [False] * 5] * 7


def test_windows_between_pixels_hold_the_pixels_whose_centre_they_hold() -> None:
    allowed = allowed_classes(
        frame([(0.6, 0.0, 4.4, 7.0)], [(0, 1)]), np.zeros((1, 2), np.float32), None, 2
    )
    assert allowed[1].any(axis=0).tolist() == [False, *[True] * 3, *[False] * 5]
    assert not allowed[0].any()


def scores(q: list[float]) -> np.ndarray:
    """(2, 1, N) from the posterior of tumour."""
    return np.array([[[1 - v for v in q]], [q]], np.float32)


Q = [0.0, 0.29, 0.30, 0.31, 0.5, 0.69, 0.70, 0.71, 1.0]


def allow(*names: str) -> np.ndarray:
    return np.stack([np.full((1, 9), name in names) for name in CLASSES.names])


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("normal", "tumour"), [0, 0, 0, 255, 255, 255, 1, 1, 1]),
        # A patch of one class: true of every pixel, whatever the scores say.
        (("normal",), [0] * 9),
        (("tumour",), [1] * 9),
        ((), [255] * 9),
    ],
)
def test_posterior_reading(names, expected) -> None:
    config = PseudoMaskConfig(**BARE)
    mask = make_mask(scores(Q), allow(*names), TISSUE, config, "posterior", CLASSES)
    assert mask.dtype == np.uint8 and mask.tolist() == [expected]


@pytest.mark.parametrize(
    ("names", "negative", "expected"),
    [
        (("tumour",), None, [255] * 6 + [1, 1, 1]),
        (("tumour",), "normal", [0] * 6 + [1, 1, 1]),  # the literal reading of the source
        (("normal",), "normal", [0] * 9),
        (("normal", "tumour"), None, [0, 0, 0, 255, 255, 255, 1, 1, 1]),
        ((), "normal", [255] * 9),
    ],
)
def test_min_max_reading(names, negative, expected) -> None:
    config = PseudoMaskConfig(negative=negative, **BARE)
    mask = make_mask(scores(Q), allow(*names), TISSUE, config, "min-max", CLASSES)
    assert mask.tolist() == [expected]


def test_joint_reading() -> None:
    """Han et al. let absent classes score 0: the first of them wins where no other has more."""
    joint = np.stack([np.linspace(1, 0.2, 9), np.linspace(0, 1, 9)])[:, None].astype(np.float32)
    for absent, first in (("exclude", 1), ("zero", 0)):
        config = PseudoMaskConfig(threshold=0, absent=absent, **BARE)
        mask = make_mask(joint, allow("tumour"), TISSUE, config, "joint", CLASSES)
        assert mask.tolist() == [[first] + [1] * 8]
        both = make_mask(joint, allow("normal", "tumour"), TISSUE, config, "joint", CLASSES)
        assert both.tolist() == [[0] * 5 + [1] * 4]


def test_white_is_no_tissue_and_takes_the_value_of_white() -> None:
    image = TISSUE.copy()
    image[0, 3:] = 255
    config = PseudoMaskConfig(min_area=0, white=WhiteConfig(gray=200, min_pixels=0))
    both = allow("normal", "tumour")
    mask = make_mask(scores(Q), both, image, config, "posterior", CLASSES)
    assert mask.tolist() == [[0, 0, 0, *[255] * 6]]
    with_white = ClassSet(("normal", "tumour"), white="normal")
    mask = make_mask(scores(Q), both, image, config, "posterior", with_white)
    assert mask.tolist() == [[0] * 9]


def test_small_components_are_ignored() -> None:
    mask = np.zeros((20, 20), np.float32)
    mask[2:4, 2:4] = mask[10:14, 10:14] = 1.0  # 4 and 16 of 400 pixels
    config = PseudoMaskConfig(min_area=0.02, white=None)
    image = np.full((20, 20, 3), 120, np.uint8)
    every = np.ones((2, 20, 20), bool)
    found = make_mask(np.stack([1 - mask, mask]), every, image, config, "posterior", CLASSES)
    assert (found[2:4, 2:4] == 255).all() and (found[10:14, 10:14] == 1).all()
    assert (found == 0).sum() == 400 - 20


@pytest.mark.parametrize(("stride", "size"), [(1, (3, 4)), (4, (12, 16)), (8, (20, 30))])
def test_scores_are_enlarged_bilinearly(stride, size) -> None:
    coarse = np.random.default_rng(0).random((2, 3, 4)).astype(np.float32)
    found = enlarge(coarse, stride, size)
    assert found.shape == (2, *size)
    for y, x in np.ndindex(*size):
        # Centres of pixels in units of cells; beyond the outermost centres scores stay.
        row = min(max((y + 0.5) / stride - 0.5, 0), 2)
        column = min(max((x + 0.5) / stride - 0.5, 0), 3)
        r, c = min(int(row), 1), min(int(column), 2)
        dy, dx = row - r, column - c
        expected = (
            coarse[:, r, c] * (1 - dy) * (1 - dx)
            + coarse[:, r + 1, c] * dy * (1 - dx)
            + coarse[:, r, c + 1] * (1 - dy) * dx
            + coarse[:, r + 1, c + 1] * dy * dx
        )
        np.testing.assert_allclose(found[:, y, x], expected, atol=1e-5)


def test_an_unknown_negative_class_is_refused_before_anything_runs() -> None:
    with pytest.raises(ConfigError, match="healthy"):
        pseudo_mask_stage(
            PseudoMaskConfig(negative="healthy"), "min-max", CLASSES, runtime=RuntimeConfig()
        )


def nuclei_right() -> np.ndarray:
    """(1, 9, 3) uint8: eosin alone on the left, haematoxylin as well on the right."""
    image = np.full((1, 9, 3), (230, 130, 180), np.uint8)
    image[:, 5:] = (90, 60, 140)
    return image


def test_nuclei_weigh_other_classes_down_where_there_are_none() -> None:
    scores = np.stack([np.full((1, 9), 0.4), np.full((1, 9), 0.6)]).astype(np.float32)
    allowed = np.ones((2, 1, 9), bool)
    settings = {"negative": "normal", "threshold": 0.55, **BARE}
    plain = PseudoMaskConfig(**settings)
    nuclei = PseudoMaskConfig(
        **settings, background={"kind": "nuclei", "weight": 0.9, "sigma": 0.5}
    )
    image = nuclei_right()
    assert (make_mask(scores, allowed, image, plain, "posterior", CLASSES) == 1).all()
    mask = make_mask(scores, allowed, image, nuclei, "posterior", CLASSES)[0]
    assert (mask[:4] == 0).all() and (mask[6:] == 1).all()
    only_tumour = allowed & (np.arange(2) == 1)[:, None, None]
    held = make_mask(scores, only_tumour, image, nuclei, "posterior", CLASSES)
    assert (held == 1).all()  # a prior does not overrule a label


def test_another_background_competes_with_the_classes() -> None:
    scores = np.stack([np.full(9, 0.9), np.linspace(0, 1, 9)])[:, None].astype(np.float32)
    allowed = np.ones((2, 1, 9), bool)
    config = PseudoMaskConfig(
        negative="normal", threshold=0.2, background={"kind": "constant", "score": 0.6}, **BARE
    )
    mask = make_mask(scores, allowed, TISSUE, config, "peak", CLASSES)[0]
    assert mask.tolist() == [0] * 5 + [1] * 4  # its own map takes no part


def test_a_saliency_map_decides_the_outline() -> None:
    scores = np.stack([np.zeros(9), np.linspace(0, 1, 9)])[:, None].astype(np.float32)
    salient = np.array([[255, 255, 255, 255, 0, 0, 255, 255, 255]], np.uint8)
    background = {"kind": "saliency", "folder": "elsewhere"}
    config = PseudoMaskConfig(negative="normal", threshold=0.2, background=background, **BARE)
    allowed = np.ones((2, 1, 9), bool)
    mask = make_mask(scores, allowed, TISSUE, config, "peak", CLASSES, salient)[0]
    assert mask.tolist() == [255, 255, 1, 1, 0, 0, 1, 1, 1]
