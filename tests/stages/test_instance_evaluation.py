import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from histoweak.classes import IGNORE_INDEX, ClassSet
from histoweak.data.manifest import Manifest, Record
from histoweak.nets.instances import InstanceNetConfig
from histoweak.pipeline import StageContext
from histoweak.stages import instance_evaluation
from histoweak.stages.evaluation_config import EvaluationConfig
from histoweak.stages.instance_evaluation import square_truth
from histoweak.training.config import RuntimeConfig


def by_loop(truth, shape, stride, side, zoom, n_classes):
    found = np.full(shape, IGNORE_INDEX, np.uint8)
    for r in range(shape[0]):
        for c in range(shape[1]):
            cut = [
                slice(
                    max(0, round(((i + 0.5) * stride - side / 2) * z)),
                    max(0, round(((i + 0.5) * stride + side / 2) * z)),
                )
                for i, z in zip((r, c), zoom, strict=True)
            ]
            square = truth[cut[0], cut[1]]
            counts = [(square == k).sum() for k in range(n_classes)]
            if sum(counts) * 2 >= square.size:
                found[r, c] = int(np.argmax(counts))
    return found


def test_truth_of_a_square_is_the_class_that_covers_most_of_it():
    random = np.random.default_rng(0)
    coarse = random.choice([0, 1, 2, 255], (6, 8))
    truth = np.kron(coarse, np.ones((12, 12), int)).astype(np.uint8)
    arguments = ((9, 12), 4, 8, (2.0, 2.0), 3)
    found = square_truth(truth, *arguments)
    assert np.array_equal(found, by_loop(truth, *arguments))
    assert set(np.unique(found)) == {0, 1, 2, 255}


def test_figures_of_instances_are_those_counted_by_hand(tmp_path, monkeypatch) -> None:
    """Two by three squares of 16 px, of which one is mostly unlabelled."""
    truth = np.zeros((32, 48), np.uint8)
    truth[:16, 16:32] = 1
    truth[:16, 26:32] = 0  # 10 of 16 columns: still class 1
    truth[:16, 32:] = 255
    truth[:16, 32:39] = 1  # 7 of 16 columns: no truth
    truth[16:, :16] = 1
    truth[16:, 32:] = 1
    # Truth: 0 1 - / 1 0 1. Found: 0 1 1 / 0 1 1.
    found = np.array([[0, 1, 1], [0, 1, 1]])
    model = SimpleNamespace(
        net=InstanceNetConfig(side=16, strides=(16,)),
        stride=16,
        mpp=None,
        maps=lambda *args, **kwargs: np.stack([found == 0, found == 1]).astype(np.float32),
    )
    monkeypatch.setattr(instance_evaluation, "load_model", lambda *args, **kwargs: model)
    Image.fromarray(np.zeros((32, 48, 3), np.uint8)).save(tmp_path / "a.png")
    Image.fromarray(truth).save(tmp_path / "mask.png")
    record = Record(
        tmp_path / "a.png", mask=tmp_path / "mask.png", patient="p", split="test", row=2
    )
    manifest = Manifest(ClassSet(("a", "b")), (record,), tmp_path / "m.csv")
    context = StageContext(tmp_path, {"classifier": tmp_path}, 0, manifest)
    runtime = RuntimeConfig(accelerator="cpu", devices=1)
    instance_evaluation.instance_evaluation_stage(EvaluationConfig(), runtime).run(context)
    figures = json.loads((tmp_path / "instances.json").read_text())
    assert figures["instances"] == 5 and figures["accuracy"] == pytest.approx(3 / 5)
    a, b = figures["classes"]["a"], figures["classes"]["b"]
    assert a["sensitivity"] == b["specificity"] == pytest.approx(1 / 2)
    assert b["sensitivity"] == a["specificity"] == pytest.approx(2 / 3)
