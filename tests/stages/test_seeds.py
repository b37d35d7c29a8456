from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from histoweak.classes import ClassSet
from histoweak.data.manifest import Manifest
from histoweak.errors import ConfigError
from histoweak.pipeline import StageContext
from histoweak.refine.crf_config import BilateralConfig, CrfConfig, GaussianConfig
from histoweak.refine.dense_crf import label_unary
from histoweak.stages.pseudo_masks import mask_file
from histoweak.stages.scores import score_file, write_scores
from histoweak.stages.seeds import SeedsConfig, make_seeds, seeds_stage, sharpened
from histoweak.training.config import RuntimeConfig
from tests.data.test_crops import frame, write_store
from tests.oracles.fully_connected import marginals

TWO = ClassSet(("normal", "tumour"))
PUBLISHED = SeedsConfig(rule="two-thresholds", background="normal", white=None)
LABELS = CrfConfig(
    gaussian=GaussianConfig(sigma=1.5, weight=2.0),
    bilateral=BilateralConfig(sigma=4, color=30, weight=3.0),
    space="rgb",
    blur=0,
    shrink=1,
    step=1,
    unary="labels",
    window=20.0,
    iterations=3,
    rest=0.3,
)


def test_classes_that_are_absent_do_not_compete_in_the_crf() -> None:
    """As in the source: the labels of the image and the background, however many classes exist."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (9, 12, 3)).astype(np.uint8)
    present = rng.random((2, 9, 12)).astype(np.float32)
    found = []
    for n_classes in (3, 10):
        scores = np.zeros((n_classes, 9, 12), np.float32)
        scores[1:3] = present
        found.append(sharpened(image, scores, LABELS, np.array([1, 2])))
        assert not np.delete(found[-1], [1, 2], axis=0).any()
    np.testing.assert_array_equal(found[0][1:3], found[1][1:3])
    three = torch.from_numpy(np.concatenate([present, np.full((1, 9, 12), 0.3, np.float32)]))
    unary = label_unary(three.argmax(dim=0)[None], 3, LABELS.confidence)[0]
    expected = marginals(image.astype(float), unary.double().numpy(), LABELS)
    np.testing.assert_allclose(found[0][1:3], expected[:2], atol=1e-4)


def test_seeds_of_two_thresholds_follow_colours_when_sharpened() -> None:
    """A weak spot within a tissue takes the class around it; without the CRF it has none."""
    image = np.full((16, 16, 3), 200, np.uint8)
    image[:, 8:] = (120, 40, 130)
    scores = np.zeros((2, 16, 16), np.float32)
    scores[1, :, 8:] = 0.8
    scores[1, 7:9, 11:13] = 0.2
    allowed, unused = np.ones((2, 16, 16), bool), np.ones(2, np.float32)
    sharper = PUBLISHED.model_copy(update={"crf": CrfConfig(preset="irn")})
    plain = make_seeds(scores, allowed, image, unused, PUBLISHED, TWO)
    sharp = make_seeds(scores, allowed, image, unused, sharper, TWO)
    assert (plain[7:9, 11:13] == 255).all() and (sharp[7:9, 11:13] == 1).all()
    assert (sharp[:, 8:] == 1).all() and (sharp[:, :8] == 0).all()
    assert (make_seeds(scores, ~allowed, image, unused, sharper, TWO) == 255).all()


def stage_seeds(folder: Path, image: np.ndarray, scores: np.ndarray, config: SeedsConfig):
    """Seeds of one frame of one patch with both classes, of which it doubts the second."""
    size = image.shape[:2]
    (folder / "scores").mkdir()
    write_scores(folder / "scores" / score_file(0), scores)
    (folder / "scores" / "scores.json").write_text('{"stride": 1}')
    (folder / "scores" / "patch_probs.csv").write_text("frame,window,normal,tumour\n0,0,0.9,0.6\n")
    whole = frame([(0, 0, size[1], size[0])], *size, labels=[(1, 1)])
    write_store(folder / "frames", [whole], [image])
    (folder / "out").mkdir()
    inputs = {name: folder / name for name in ("frames", "scores")}
    stage = seeds_stage(config, "posterior", TWO, RuntimeConfig(accelerator="cpu"))
    stage.run(StageContext(folder / "out", inputs, 0, Manifest(TWO, ())))
    return np.asarray(Image.open(folder / "out" / mask_file(0)))


@pytest.mark.parametrize(("gate", "seeded"), [(0.7, False), (0.5, True), (None, True)])
def test_patches_that_fail_the_gate_carry_no_seed(tmp_path: Path, gate, seeded) -> None:
    scores = np.stack([np.full((4, 4), 0.8), np.full((4, 4), 0.2)]).astype(np.float32)
    image = np.zeros((4, 4, 3), np.uint8)
    found = stage_seeds(tmp_path, image, scores, SeedsConfig(gate=gate, keep=1, white=None))
    assert (found == (0 if seeded else 255)).all()


@pytest.mark.parametrize("crf", [None, CrfConfig()])
def test_seeds_by_quantile_follow_colours_when_sharpened(tmp_path: Path, crf) -> None:
    image = np.full((24, 24, 3), 210, np.uint8)
    image[:, 12:] = (120, 40, 130)
    tumour = np.where(image[..., 0] < 200, 0.9, 0.1).astype(np.float32)
    tumour[10:13, 17:20] = 0.3
    config = SeedsConfig(gate=None, keep=1, white=None, crf=crf)
    found = stage_seeds(tmp_path, image, np.stack([1 - tumour, tumour]), config)
    assert (found[10:13, 17:20] == (0 if crf is None else 1)).all()
    assert (found[:, :11] == 0).all() and (found[:, 21:] == 1).all()


def test_seeds_follow_the_labels() -> None:
    image = np.full((1, 4, 3), 120, np.uint8)
    scores = np.array([[[0.9, 0.6, 0.2, 0.1]], [[0.1, 0.4, 0.8, 0.9]]], np.float32)
    allowed = np.ones((2, 1, 4), bool)
    allowed[:, 0, 0] = False
    thresholds = np.array([0.5, 0.85], np.float32)
    config = SeedsConfig(white=None)
    assert make_seeds(scores, allowed, image, thresholds, config, TWO).tolist() == [
        [255, 0, 255, 1]
    ]
    assert make_seeds(scores, allowed, image, thresholds, PUBLISHED, TWO).tolist() == [
        [255, 1, 1, 1]
    ]
    image[0, 3] = 255
    white = SeedsConfig(rule="quantile", white={"gray": 200, "min_pixels": 1})
    assert make_seeds(scores, allowed, image, thresholds, white, TWO)[0, 3] == 255


@pytest.mark.parametrize(
    ("settings", "reading", "said"),
    [
        ({"rule": "two-thresholds"}, "peak", "seeds.background = None"),
        ({"background": "normal"}, "posterior", "seeds.background = 'normal'"),
        ({"rule": "two-thresholds", "background": "no"}, "peak", "seeds.background = 'no'"),
        ({"rule": "two-thresholds", "background": "normal"}, "posterior", "scores.reading"),
        ({}, "min-max", "scores.reading"),
        (
            {"rule": "two-thresholds", "background": "normal", "crf": CrfConfig(rest=0.2)},
            "peak",
            "seeds.crf.rest",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings, reading, said) -> None:
    with pytest.raises(ConfigError, match=said):
        seeds_stage(SeedsConfig(**settings), reading, TWO, RuntimeConfig())
