import json
from dataclasses import replace
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from histoweak.classes import ClassSet
from histoweak.data.crops import Batch
from histoweak.data.frames import build_frames
from histoweak.data.manifest import Manifest, Record
from histoweak.data.skips import Skips
from histoweak.errors import ConfigError
from histoweak.inference.look import look
from histoweak.inference.model import load_model
from histoweak.methods import find_method
from histoweak.metrics.operating_point import balanced_thresholds
from histoweak.nets.histosegnet import HistoSegNet, HistoSegNetConfig
from histoweak.pipeline import StageContext
from histoweak.progress import Progress
from histoweak.refine.adjust import AdjustConfig, BackgroundConfig
from histoweak.stages import prediction
from histoweak.stages.classifier import HistoSegNetClassifierConfig, Objective
from histoweak.stages.labels import label_probs
from histoweak.stages.own_masks import own_mask
from histoweak.stages.prediction import PredictionConfig, prediction_stage
from histoweak.training.config import RuntimeConfig
from tests.inference.models import CLASSES, classifier, picture

CPU = RuntimeConfig(accelerator="cpu")


@pytest.fixture
def context(tmp_path: Path) -> StageContext:
    """Twelve labelled patches of 64 px, of which some have a white corner of 230."""
    records = []
    for i in range(12):
        image = picture(64, 64, seed=i) // 2
        image[:8, :8] = 230
        Image.fromarray(image).save(tmp_path / f"{i}.png")
        labels = tuple(int(v) for v in np.random.default_rng(i).integers(0, 2, 3))
        split = "val" if i >= 6 else "train"
        records.append(
            Record(tmp_path / f"{i}.png", labels=labels, patient=f"P{i}", split=split, row=i + 2)
        )
    (tmp_path / "frames").mkdir()
    build_frames(
        [r for r in records if r.split == "train"],
        3,
        tmp_path / "frames",
        mpp=None,
        assemble=False,
        with_masks=False,
        skips=Skips(6, 0.0),
        progress=Progress(quiet=True),
    )
    classifier(gain=20.0).save(tmp_path / "classifier" / "model")
    (tmp_path / "out").mkdir()
    manifest = Manifest(CLASSES, tuple(records), tmp_path / "manifest.csv")
    inputs = {"frames": tmp_path / "frames", "classifier": tmp_path / "classifier"}
    return StageContext(tmp_path / "out", inputs, 0, manifest)


def test_what_the_data_decide_is_found_in_labels_and_training_images(context) -> None:
    config = PredictionConfig(floor=0.0)
    prediction_stage(config, CPU, CLASSES, crop=96, assemble=True).run(context)
    post = load_model(context.out / "model").post
    assert post is not None
    assert (post.tile, post.window, post.floor) == (96, 64, 0.0)
    # 1.6 % of the pixels are as bright as 230: the published level would overlook them.
    assert post.adjust.background == BackgroundConfig(level=215.0)
    model = load_model(context.inputs["classifier"] / "model")
    probs, labels = label_probs(model, context.manifest.split("val"))
    np.testing.assert_allclose(post.thresholds, balanced_thresholds(probs, labels), atol=1e-5)
    assert min(post.thresholds) >= 0.333


def test_without_validation_labels_the_windows_of_the_frames_decide(context) -> None:
    records = tuple(r for r in context.manifest.records if r.split == "train")
    bare = replace(context, manifest=replace(context.manifest, records=records))
    prediction_stage(PredictionConfig(), CPU, CLASSES, crop=None, assemble=True).run(bare)
    post = load_model(context.out / "model").post
    model = load_model(context.inputs["classifier"] / "model")
    expected = balanced_thresholds(*label_probs(model, records))  # patches that stand alone
    assert post is not None
    np.testing.assert_allclose(post.thresholds, expected, atol=1e-5)


def thresholds(context: StageContext, records: tuple[Record, ...], **options) -> tuple:
    """Where the thresholds come from when these rows are the manifest, and the thresholds."""
    changed = replace(context, manifest=replace(context.manifest, records=records))
    options = {"crop": None, "assemble": True} | options
    prediction_stage(PredictionConfig(), CPU, CLASSES, **options).run(changed)
    found = json.loads((context.out / "prediction.json").read_text())
    return found["split"], tuple(found["thresholds"].values())


def test_whole_images_do_not_decide_what_is_asked_of_windows(context) -> None:
    train = context.manifest.split("train")
    Image.fromarray(picture(200, 160)).save(context.out / "whole.png")
    whole = replace(train[0], image=context.out / "whole.png", split="val", labels=(0, 0, 0))
    only_train = thresholds(context, train)
    assert only_train[0] == "train" and thresholds(context, (*train, whole)) == only_train
    records = context.manifest.records
    assert thresholds(context, (*records, whole)) == thresholds(context, records)
    # At a quarter of the scale it is 50 x 40 pixels, and has its say.
    fine = replace(whole, mpp=0.25)
    path = context.inputs["classifier"] / "model"
    replace(load_model(path), mpp=1.0).save(path, overwrite=True)
    assert thresholds(context, (*train, fine))[0] == "val"


@pytest.mark.parametrize("assemble", [True, False])
def test_validation_patches_are_seen_as_those_of_training_are(context, assemble) -> None:
    train = context.manifest.split("train")
    model = load_model(context.inputs["classifier"] / "model")
    image, records, probs, labels = picture(128, 128, seed=9), [], [], []
    maps = model.maps(image)
    for number, (y, x) in enumerate(product((0, 64), (0, 64))):
        path = context.out / f"{y}_{x}.png"
        Image.fromarray(image[y : y + 64, x : x + 64]).save(path)
        label = tuple(int(v) for v in np.random.default_rng(number).integers(0, 2, 3))
        row = replace(train[0], image=path, labels=label, split="val", source="a", x=x, y=y)
        records.append(row)
        cells = maps[:, y // 16 : y // 16 + 4, x // 16 : x // 16 + 4].mean((1, 2))
        alone = model.patch_probs(image[y : y + 64, x : x + 64])
        probs.append(1 / (1 + np.exp(-cells)) if assemble else alone)
        labels.append(label)
    expected = balanced_thresholds(np.array(probs), np.array(labels))
    found = thresholds(context, (*train, *records), assemble=assemble)
    np.testing.assert_allclose(found[1], expected, atol=1e-5)


def test_what_is_given_is_kept(context) -> None:
    adjusting = AdjustConfig(background=BackgroundConfig(level=240.0))
    config = PredictionConfig(tile=32, window=32, adjust=adjusting)
    prediction_stage(config, CPU, CLASSES, crop=None, assemble=True).run(context)
    post = load_model(context.out / "model").post
    assert post is not None and (post.tile, post.window) == (32, 32) and post.adjust == adjusting


def test_a_class_that_is_none_is_refused_before_training() -> None:
    with pytest.raises(ConfigError, match="bone"):
        prediction_stage(PredictionConfig(forced=("bone",)), CPU, CLASSES, crop=None, assemble=True)


@pytest.mark.parametrize("recipe", ["published", "published-morphological"])
def test_the_recipes_of_the_paper_ask_for_the_classes_of_its_atlas(recipe) -> None:
    from histoweak.api import configure

    config = configure("histosegnet", recipe)
    module = find_method("histosegnet").load()
    atlas = ClassSet(("G.O", "G.N", "T", "A.W", "A.B", "A.M", "E"))
    assert [stage.name for stage in module.build(config, atlas)][-2:] == [
        "prediction",
        "evaluation",
    ]
    with pytest.raises(ConfigError, match=r"A\.W|G\.O"):
        module.build(config, CLASSES)


def test_windows_are_pooled_as_in_the_network_for_the_loss() -> None:
    torch.manual_seed(0)
    network = HistoSegNet(HistoSegNetConfig(vgg_width=0.125), 3).eval()
    images = torch.rand(2, 3, 64, 64)
    boxes = torch.tensor([[0.0, 0, 0, 64, 64], [1.0, 0, 0, 64, 64]])
    maps, logits = look(network, images, boxes)
    torch.testing.assert_close(logits, network.logits(network.pool(network.activations(images))))
    torch.testing.assert_close(maps, network(images))
    labels = torch.tensor([[1.0, 0, 0], [0.0, 1, 1]])
    batch = Batch(images, boxes, labels, None, torch.zeros(2, 6), ("a", "b"), 0)
    config = HistoSegNetClassifierConfig()
    loss = Objective(config, None)(network, images, batch)["loss"]
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels)
    torch.testing.assert_close(loss, expected)


def test_training_masks_hold_what_labels_allow_and_the_prediction_is_sure_of() -> None:
    adjusted = np.array(
        [[0.6, 0.0, 0.3, 0.0], [0.3, 0.5, 0.3, 0.0], [0.0, 0.0, 0.0, 0.9], [0, 0, 0, 0], [0] * 4],
        np.float32,
    )[:, None]
    adjusted[3, 0, 2] = 0.4  # background
    allowed = np.array([True, True, False, False])[:3, None, None] & np.ones((3, 1, 4), bool)
    values = np.array([0, 1, 2, 255, 255], np.uint8)
    found = own_mask(adjusted, allowed, values, 0.5)
    assert found.tolist() == [[0, 1, 255, 255]]
    assert own_mask(adjusted, allowed & False, values, 0.5).tolist() == [[255] * 4]


def test_other_tissue_that_stands_for_a_class_needs_its_label_too() -> None:
    adjusted = np.zeros((5, 1, 3), np.float32)
    adjusted[0], adjusted[4] = 0.4, [[0.0, 0.6, 0.6]]
    allowed = np.zeros((3, 1, 3), bool)
    allowed[0], allowed[2, 0, 2] = True, True
    found = own_mask(adjusted, allowed, np.array([0, 1, 2, 255, 2], np.uint8), 0.5)
    assert found.tolist() == [[0, 0, 2]]


class Listed:
    """Frames whose image is their number."""

    def __init__(self, frames: list) -> None:
        self.frames = frames

    def __len__(self) -> int:
        return len(self.frames)

    def image(self, index: int) -> int:
        return index


def test_a_patch_passes_the_threshold_that_it_sets(monkeypatch) -> None:
    """However close to 1: a rounded threshold would lie above it."""
    probs = np.array([[0.9999997], [0.9999998], [0.2], [0.3]], np.float32)
    frames = [SimpleNamespace(labels=[(int(p > 0.5),)]) for p in probs[:, 0]]
    store = Listed(frames)
    monkeypatch.setattr(prediction, "window_probs", lambda m, maps, f, image: probs[[image]])
    model = SimpleNamespace(maps=lambda image: None)
    progress = SimpleNamespace(track=lambda items, *rest: items)
    context = SimpleNamespace(progress=progress)
    (threshold,) = prediction._thresholds(model, store, context)
    assert ((probs[:, 0] >= threshold) == (probs[:, 0] > 0.5)).all()
