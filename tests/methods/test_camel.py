import json
from pathlib import Path

import numpy as np

from histoweak.data.instances import InstanceStore
from tests import program
from tests.conftest import TINY, write_settings
from tests.method_tester import MethodTester


class TestCamel(MethodTester):
    method = "camel"
    settings = TINY["camel"]


def test_a_cascade_adds_coarse_instances_to_the_patches(phantom: Path, tmp_path: Path) -> None:
    coarse = {"net": {"encoder": "test_resnet", "side": 64, "strides": [32]}}
    cascade = {"cmil": {**TINY["camel"]["cmil"], **coarse}, "bags": {"threshold": 0.0}}
    settings = write_settings(tmp_path / "tiny.yaml", {**TINY["camel"], "cascade": cascade})
    out = tmp_path / "run"
    words = ("run", "camel", "--data", phantom, "--out", out, "--config", settings)
    ended = program.run(*words, "--select", "val-label")
    assert ended.code == 0, ended
    names = [stage["name"] for stage in json.loads((out / "run.json").read_text())["stages"]]
    assert names[1:7] == [
        "cmil-max-coarse", "cmil-min-coarse", "instances-coarse", "classifier-coarse", "bags",
        "cmil-max",
    ]  # fmt: skip
    folders = {p.name.rsplit("-", 1)[0]: p for p in (out / "stages").iterdir()}
    store = InstanceStore(folders["frames"], folders["bags"] / "instances.json")
    frame = store.frames[0]
    # A patch of 64 px is one coarse instance, which carries the label of the patch at threshold 0.
    assert np.allclose(frame.boxes, [[0, 0, 64, 64]] * 2) and frame.labels[0] == frame.labels[1]
