"""What tests of whole runs share: one tiny synthetic data set, and settings that train in a second.

Each process of a test run makes its own copy once; tests that damage files work on a copy of it.
"""

import json
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import program

# A shell that starts the tests in the background has Ctrl-C ignored, and children inherit that:
# tests of interruption would then wait for one that never comes.
signal.signal(signal.SIGINT, signal.default_int_handler)

FIT = {"steps": 6, "batch": 4, "chunk": 3}
SEGMENTER = {
    "net": {"encoder": "tu-test_resnet", "decoder_channels": 16},
    "fit": FIT,
    "crop": 64,
}
# What costs most is left out; the test of the demonstration leaves it in.
EVALUATION = {"samples": 1, "faithfulness": 0, "boundary": "none", "evidence": False}
DRS_NET = {"encoder": "vgg16_bn", "vgg_width": 0.05, "vgg_head": [256]}
TINY: dict[str, dict[str, Any]] = {
    "vgg-cam": {
        "classifier": {"net": {"encoder": "vgg16_bn", "vgg_width": 0.05}, "fit": FIT},
        "scores": {"tta": "none"},
        "pseudo_masks": {"refine": ["crf"]},
        "segmenter": SEGMENTER,
        "evaluation": EVALUATION,
    },
    "camel": {
        "cmil": {"net": {"encoder": "test_resnet", "side": 32, "strides": [16]}, "fit": FIT},
        "classifier": {"fit": FIT, "bag_batch": 2},
        "scores": {"tta": "none"},
        "segmenter": SEGMENTER,
        "evaluation": EVALUATION,
    },
    "drs": {
        "classifier": {"net": DRS_NET, "fit": FIT},
        "scores": {"tta": "none"},
        "refiner": {"net": DRS_NET, "fit": FIT},
        "segmenter": SEGMENTER,
        "evaluation": EVALUATION,
    },
    "histosegnet": {
        "classifier": {
            "net": {"encoder": "test_resnet", "strides": [8, 16], "head": "fused", "width": 8},
            "fit": FIT,
        },
        "evaluation": EVALUATION,
    },
    "irn": {
        "classifier": {"net": {"encoder": "vgg16_bn", "vgg_width": 0.05}, "fit": FIT},
        "scores": {"tta": "none"},
        "boundary": {"fit": FIT, "radius": 4, "displacement": True},
        "walk": {"tta": "none", "steps": 2, "instances": True},
        "segmenter": SEGMENTER,
        "evaluation": EVALUATION,
    },
    "hisynseg": {
        "synthesis": {"side": 32},
        "authenticity": {"net": {"width": 0.1}, "fit": FIT, "judged": 4},
        "segmenter": {**SEGMENTER, "fit": {**FIT, "batch": 2}},
        "evaluation": EVALUATION,
    },
    "mlps": {
        "classifier": {
            "net": {
                "encoder": "resnet38d",
                "strides": [8],
                "head": "last",
                "width_factor": 0.02,
                "attention": "train",
                "dropout": 0.5,
            },
            "fit": FIT,
        },
        "scores": {"tta": "none"},
        "segmenter": SEGMENTER,
        "evaluation": EVALUATION,
    },
    "supervised": {"segmenter": SEGMENTER, "evaluation": EVALUATION},
}
"""Settings of each method that train in about a second; values are never to be quoted."""


@pytest.fixture(scope="session")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Manifest of 24 synthetic patches of 64 px: 16 train, 4 val, 4 test, all with masks."""
    from histoweak.data.phantom import PhantomConfig, write_phantom

    config = PhantomConfig(patches=24, patch_size=64, patients=6)
    return write_phantom(tmp_path_factory.mktemp("phantom"), config)


@pytest.fixture
def data(phantom: Path, tmp_path: Path) -> Path:
    """Manifest of a copy of the phantom, to be damaged."""
    shutil.copytree(phantom.parent, tmp_path / "data")
    return tmp_path / "data" / phantom.name


@pytest.fixture(scope="session")
def whole_run(phantom: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a finished run of `vgg-cam` with `TINY` settings and seed 0; read only."""
    folder = tmp_path_factory.mktemp("whole")
    settings = write_settings(folder / "tiny.yaml", TINY["vgg-cam"])
    ended = program.run("run", "vgg-cam", "--data", phantom, "--out", folder, "--config", settings)
    assert ended.code == 0, ended
    return folder


def write_settings(path: Path, settings: Mapping[str, Any]) -> Path:
    """Write settings as YAML for `--config`."""
    path.write_text(yaml.safe_dump(json.loads(json.dumps(settings))))
    return path
