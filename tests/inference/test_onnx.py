import json

import numpy as np
import pytest
import torch

from histoweak.errors import ConfigError, WeightsError
from histoweak.inference import onnx as module
from histoweak.inference.onnx import export_onnx
from tests.inference.models import CLASSES, classifier, segmenter

runtime = pytest.importorskip("onnxruntime", reason="needs the extra histoweak[onnx]")
pytest.importorskip("onnxscript", reason="needs the extra histoweak[onnx]")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    model = segmenter(mpp=0.5)
    return model, path, export_onnx(model, path)


@pytest.mark.parametrize("shape", [(1, 3, 224, 224), (3, 3, 65, 130), (1, 3, 17, 40)])
def test_outputs_are_equal_at_any_size(exported, shape):
    model, path, _ = exported
    images = np.random.default_rng(1).random(shape, np.float32)
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (found,) = session.run(["logits"], {"images": images})
    with torch.no_grad():
        np.testing.assert_allclose(found, model.network.eval()(torch.from_numpy(images)), atol=1e-4)


def test_the_file_says_what_it_is(exported):
    _, path, difference = exported
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    metadata = json.loads(session.get_modelmeta().custom_metadata_map["histoweak"])
    assert metadata["classes"]["names"] == list(CLASSES.names) and metadata["mpp"] == 0.5
    assert 0 <= difference < 1e-4
    assert [p.name for p in path.parent.iterdir()] == ["model.onnx"]


def test_a_classifier_yields_its_maps(tmp_path):
    model, images = classifier(), torch.rand(2, 3, 64, 48)
    export_onnx(model, tmp_path / "m.onnx")
    session = runtime.InferenceSession(str(tmp_path / "m.onnx"))
    (found,) = session.run(["maps"], {"images": images.numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(found, model.network.eval()(images), atol=1e-4)


def test_a_file_that_differs_from_the_network_never_appears(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_export", lambda *_: None)
    monkeypatch.setattr(module, "_difference", lambda *_: [0.5])
    with pytest.raises(WeightsError, match="differs"):
        export_onnx(classifier(), tmp_path / "m.onnx")
    assert not any(tmp_path.iterdir())


def test_the_missing_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_NEEDED", ("onnx", "no_such_module"))
    with pytest.raises(ConfigError, match=r"histoweak\[onnx\]"):
        export_onnx(classifier(), tmp_path / "m.onnx")
