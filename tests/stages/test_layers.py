from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from torch import Tensor

from histoweak.classes import ClassSet
from histoweak.config import build_config
from histoweak.data.crops import Batch
from histoweak.data.manifest import Manifest
from histoweak.errors import ConfigError
from histoweak.nets.layer_classifier import LayerClassifier
from histoweak.objectives.segmentation import fifth_logit_loss, layered_loss, pixel_loss
from histoweak.pipeline import StageContext
from histoweak.refine.white import WhiteConfig
from histoweak.stages import layers
from histoweak.stages.classifier import Objective
from histoweak.stages.evaluation import evaluation_stage
from histoweak.stages.evaluation_config import EvaluationConfig
from histoweak.stages.layers import AttentiveLook, LayerClassifierConfig
from histoweak.stages.png_masks import PngMasks
from histoweak.stages.pseudo_masks import PseudoMaskConfig, mask_file, pseudo_mask_stage
from histoweak.stages.scores import LayerScoresConfig, score_file, write_scores
from histoweak.stages.segmenter import (
    LayeredSegmenterConfig,
    SegmenterConfig,
    layers_of,
    mask_loss,
)
from histoweak.training.config import RuntimeConfig
from tests.data.test_crops import frame, write_store

NET = {"encoder": "resnet38d", "strides": [8], "head": "last", "width_factor": 0.02}


def batch(step: int) -> Batch:
    boxes = torch.tensor([[0.0, 0, 0, 32, 32], [1, 0, 0, 32, 32]])
    labels = torch.tensor([[1.0, 0], [1, 1]])
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    return Batch(images, boxes, labels, None, torch.zeros(2, 6), ("a", "b"), step)


def config(**net: object) -> LayerClassifierConfig:
    fit = {"steps": 200}
    return LayerClassifierConfig.model_validate({"net": {**NET, **net}, "fit": fit})


def test_attention_follows_the_step_of_the_batch() -> None:
    asked: list[float | None] = []

    class Recorder(LayerClassifier):
        def all_maps(self, images: Tensor, mu: float | None = None) -> list[Tensor]:
            asked.append(mu)
            return super().all_maps(images, mu)

    own = config(attention="train")
    network = Recorder(own.net, 2)
    for step in (0, 30, 190):
        AttentiveLook(own)(network, torch.rand(2, 3, 32, 32), batch(step))
    assert asked == [1.0, 0.985, 0.985**17]
    none = config(attention="none")
    AttentiveLook(none)(network, torch.rand(2, 3, 32, 32), batch(190))
    assert asked[-1] is None


def test_every_layer_with_a_head_has_all_losses() -> None:
    own = config(layer_heads=True, attention="none").model_copy(update={"absent_evidence": 1.0})
    torch.manual_seed(0)
    network = LayerClassifier(own.net, 2).eval()
    images = torch.rand(2, 3, 32, 32)
    total = Objective(own, None, AttentiveLook(own))(network, images, batch(0))
    parts = [
        Objective(own, None, lambda *_, m=maps: ((m, m.mean((2, 3))),))(network, images, batch(0))
        for maps in network.all_maps(images)
    ]
    assert len(parts) == 3
    for name in ("loss", "classification", "absent"):
        torch.testing.assert_close(total[name], sum(p[name] for p in parts) / 3)
    total["loss"].backward()
    assert all(p.grad is not None for p in network.layer_heads.parameters())


def write_layers(folder: Path) -> np.ndarray:
    masks = np.random.default_rng(0).integers(0, 3, (3, 6, 5), dtype=np.uint8)
    for mask, layer in zip(masks, (0, 1, None), strict=True):
        Image.fromarray(mask).save(folder / mask_file(7, layer))
    return masks


def test_masks_of_weight_zero_are_not_read(tmp_path: Path) -> None:
    masks = write_layers(tmp_path)
    every, last = LayeredSegmenterConfig(), LayeredSegmenterConfig(mask_weights=(0, 0, 1))
    assert every.layers() == {0: 0.2, 1: 0.2, None: 0.6} and last.layers() == {None: 1}
    np.testing.assert_array_equal(PngMasks(tmp_path, layers_of(every))(7), masks)
    np.testing.assert_array_equal(PngMasks(tmp_path, layers_of(SegmenterConfig()))(7), masks[2])
    (tmp_path / mask_file(7, 0)).unlink()
    np.testing.assert_array_equal(PngMasks(tmp_path, layers_of(last))(7), masks[2:])


def test_masks_that_were_asked_for_last_stay_in_memory(tmp_path: Path) -> None:
    masks = np.random.default_rng(1).integers(0, 3, (4, 6, 5), dtype=np.uint8)
    for index, mask in enumerate(masks):
        Image.fromarray(mask).save(tmp_path / mask_file(index))
    reader = PngMasks(tmp_path, kept_bytes=2 * 6 * 5)
    for index in (0, 1, 0, 2, 3, 0, 3):  # 1, 2 and 0 have to go for a third
        np.testing.assert_array_equal(reader(index), masks[index])
    for index in range(4):
        (tmp_path / mask_file(index)).unlink()
    np.testing.assert_array_equal(reader(3), masks[3])
    np.testing.assert_array_equal(reader(0), masks[0])
    for index in (1, 2):
        with pytest.raises(FileNotFoundError):
            reader(index)
    assert PngMasks(tmp_path).kept_bytes < 2**30


def test_the_loss_is_that_of_the_settings() -> None:
    torch.manual_seed(0)
    logits, masks = torch.randn(2, 3, 4, 4), torch.randint(0, 3, (2, 3, 4, 4)).to(torch.uint8)
    weights = (0.2, 0.2, 0.6)
    plain, released = LayeredSegmenterConfig(), LayeredSegmenterConfig(loss="fifth-logit")
    assert mask_loss(plain, logits, masks).equal(layered_loss(logits, masks, weights))
    assert mask_loss(released, logits, masks).equal(fifth_logit_loss(logits, masks, weights, 8))
    alone = LayeredSegmenterConfig(mask_weights=(0, 0, 1))
    one = mask_loss(SegmenterConfig(), logits, masks[:, 2])
    torch.testing.assert_close(mask_loss(alone, logits, masks[:, 2:]), one)
    torch.testing.assert_close(one, pixel_loss(logits, masks[:, 2]))


@pytest.mark.parametrize("weights", [(), (0.0, 0.0), (-1.0, 2.0)])
def test_weights_that_weigh_nothing_are_refused(weights: tuple[float, ...]) -> None:
    with pytest.raises(ValidationError):
        LayeredSegmenterConfig(mask_weights=weights)


def test_a_gate_needs_a_classifier() -> None:
    gated = EvaluationConfig(gate="predicted")
    assert gated.gate_words() == "predicted > 0.1"
    released = EvaluationConfig(gate="predicted", gate_form="multiply")
    assert released.gate_words() == "predicted > 0.1, logits times 0 or 1"
    with pytest.raises(ConfigError, match="the method has no classifier"):
        evaluation_stage(gated, RuntimeConfig(), segmenters=["s"], cam=None, selection="last")
    formed = EvaluationConfig(gate_form="multiply")
    with pytest.raises(ConfigError, match=r"gate_form = 'multiply' with evaluation\.gate"):
        evaluation_stage(formed, RuntimeConfig(), segmenters=["s"], cam=None, selection="last")


def test_rungs_of_layers_share_one_classifier(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[Path] = []
    monkeypatch.setattr(layers, "load_model", lambda folder, device: loaded.append(folder))
    for rung in layers.layer_rungs(LayerScoresConfig(), ("a", "b", "c")):
        rung({"classifier": Path("somewhere")}, "cpu")
    assert loaded == [Path("somewhere/model")]


@pytest.mark.parametrize("within", [False, True])
def test_shallow_masks_may_be_kept_within_the_deepest(tmp_path: Path, within: bool) -> None:
    """Two layers of two classes; the deepest is unsure of the left half."""
    scores = np.zeros((4, 4, 8), np.float32)
    scores[0], scores[1] = 0.9, 0.1
    scores[2:, :, :4] = 0.5
    scores[3, :, 4:] = 1.0
    config = PseudoMaskConfig(gate=None, min_area=0, white=None, within_deepest=within)
    shallow, deep = masks_of(tmp_path, scores, np.zeros((4, 8, 3), np.uint8), config)
    assert (deep[:, :4] == 255).all() and (deep[:, 4:] == 1).all()
    assert (shallow[:, :4] == (255 if within else 0)).all() and (shallow[:, 4:] == 0).all()


def test_classes_compete_within_a_layer_when_scores_are_refined(tmp_path: Path) -> None:
    """A layer that is unsure does not lose to another one that is sure of the same pixels."""
    rng = np.random.default_rng(0)
    scores = np.zeros((4, 24, 24), np.float32)
    scores[0] = rng.uniform(0.55, 0.8, (24, 24))
    scores[2] = rng.uniform(0.9, 1.0, (24, 24))
    scores[1], scores[3] = 1 - scores[0], 1 - scores[2]
    bare = {"gate": None, "min_area": 0, "white": None, "threshold": 0.7}
    config = build_config(PseudoMaskConfig, bare | {"refine": ["crf"]}, "settings")
    image = np.full((24, 24, 3), 90, np.uint8)
    together = masks_of(tmp_path, scores, image, config)
    for layer, mask in enumerate(together):
        alone = tmp_path / str(layer)
        alone.mkdir()
        pair = scores[2 * layer : 2 * layer + 2]
        np.testing.assert_array_equal(mask, masks_of(alone, pair, image, config)[-1])


def test_one_white_serves_every_layer(tmp_path: Path) -> None:
    scores = np.stack([np.full((4, 8), v, np.float32) for v in (0.9, 0.1, 0.1, 0.9)])
    image = np.full((4, 8, 3), 120, np.uint8)
    image[:2, 3:] = 230
    white = WhiteConfig(gray=200, min_pixels=0)
    config = PseudoMaskConfig(gate=None, min_area=0, white=white)
    for mask, tissue in zip(masks_of(tmp_path, scores, image, config), (0, 1), strict=True):
        np.testing.assert_array_equal(mask, np.where(image[..., 0] == 230, 255, tissue))


def masks_of(
    tmp_path: Path, scores: np.ndarray, image: np.ndarray, config: PseudoMaskConfig
) -> list[np.ndarray]:
    """Masks of all layers, shallow to deep, that the stage makes of scores of two classes."""
    height, width = image.shape[:2]
    (tmp_path / "scores").mkdir()
    write_scores(tmp_path / "scores" / score_file(0), scores)
    (tmp_path / "scores" / "scores.json").write_text('{"stride": 1}')
    (tmp_path / "scores" / "patch_probs.csv").write_text("frame,window,a,b\n0,0,1,1\n")
    whole = frame([(0, 0, width, height)], height, width, labels=[(1, 1)])
    write_store(tmp_path / "frames", [whole], [image])
    (tmp_path / "out").mkdir()
    classes = ClassSet(("a", "b"))
    inputs = {name: tmp_path / name for name in ("frames", "scores")}
    manifest = Manifest(classes, ())
    stage = pseudo_mask_stage(config, "posterior", classes, runtime=RuntimeConfig())
    stage.run(StageContext(tmp_path / "out", inputs, 0, manifest))
    paths = sorted((tmp_path / "out").glob("*.png"), key=lambda path: ("-" not in path.stem, path))
    return [np.asarray(Image.open(path)) for path in paths]
