"""Real kills of a real run: the resumed run ends with the same weights, bit for bit."""

import hashlib
import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import program
from tests.conftest import FIT, TINY, write_settings

# All that a checkpoint must carry: moving average, choice by validation, a second round.
SETTINGS = {
    **TINY["vgg-cam"],
    "classifier": {**TINY["vgg-cam"]["classifier"], "fit": {**FIT, "ema": 0.9, "steps": 7}},
    "segmenter": {**TINY["vgg-cam"]["segmenter"], "fit": {**FIT, "select": "val-label"}},
    "self_training": {
        "teacher": {"tta": "none"},
        "segmenter": {**TINY["vgg-cam"]["segmenter"], "fit": {**FIT, "ema": 0.5, "batch": 2}},
    },
}


def arguments(phantom: Path, out: Path) -> list[object]:
    out.mkdir(exist_ok=True)
    settings = write_settings(out / "settings.yaml", SETTINGS)
    return ["run", "vgg-cam", "--data", phantom, "--out", out, "--config", settings]


def weights(run: Path) -> dict[str, str]:
    """SHA-256 of each network that the run has trained."""
    found = [*(run / "stages").glob("*/model/*.safetensors"), *run.glob("model/*.safetensors")]
    return {
        str(path.relative_to(run)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found
    }


def figures(run: Path) -> dict[str, object]:
    (path,) = (run / "stages").glob("evaluation-*/evaluation.json")
    content: dict[str, object] = json.loads(path.read_text())
    return content


@pytest.fixture(scope="module")
def whole(phantom: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    ended = program.run(*arguments(phantom, folder))
    assert ended.code == 0, ended
    assert len(weights(folder)) == 4
    assert figures(folder)["selection"] == "val-label"
    return folder


def working(stage: str, file: str = "") -> Callable[[Path], bool]:
    """Whether the stage is being worked on and has written a file."""
    return lambda run: any((run / "work").glob(f"{stage}-[0-9a-f]*/{file}"))


def done(stage: str) -> Callable[[Path], bool]:
    return lambda run: any((run / "stages").glob(f"{stage}-[0-9a-f]*"))


MOMENTS = {
    "decoding": working("frames"),
    "classifier with checkpoint": working("classifier", "_scratch/last.ckpt"),
    "classifier saved": working("classifier", "model/model.safetensors"),
    "between stages": done("scores"),
    "segmenter with checkpoint": working("segmenter", "_scratch/last.ckpt"),
    "second segmenter with checkpoint": working("segmenter-2", "_scratch/last.ckpt"),
    "evaluating": working("evaluation", "predictions/000000.png"),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_run_ends_with_the_same_weights(
    phantom: Path, whole: Path, tmp_path: Path, moment: str
) -> None:
    run = tmp_path / "run"
    killed = program.start(*arguments(phantom, run)).kill_when(lambda: MOMENTS[moment](run))
    assert killed.code == -signal.SIGKILL
    resumed = program.run(*arguments(phantom, run))
    assert resumed.code == 0, resumed
    assert weights(run) == weights(whole)
    assert figures(run) == figures(whole)
    assert not list((run / "work").iterdir())
    assert_tidy(run)


def test_killed_again_and_again(phantom: Path, whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    for moment in list(MOMENTS.values())[1::2]:
        killed = program.start(*arguments(phantom, run)).kill_when(lambda m=moment: m(run))
        assert killed.code == -signal.SIGKILL
    assert program.run(*arguments(phantom, run)).code == 0
    assert weights(run) == weights(whole)
    assert figures(run) == figures(whole)


def test_interrupted_run_says_so_and_resumes(phantom: Path, whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    moment = MOMENTS["segmenter with checkpoint"]
    program_ = program.start(*arguments(phantom, run))
    ended = program_.kill_when(lambda: moment(run), signal.SIGINT)
    assert ended.code == 130, ended
    assert ended.stderr.endswith("interrupted; the same command again resumes\n")
    assert "Traceback" not in ended.stderr
    assert json.loads((run / "run.json").read_text())["reason"] == "stage 'segmenter': interrupted"
    resumed = program.run(*arguments(phantom, run))
    assert "training the segmenter: 3/6 (50%)" in resumed.stderr
    assert weights(run) == weights(whole)


def assert_tidy(run: Path) -> None:
    """Finished stages hold no checkpoint, no half-written file and nothing of Lightning's."""
    names = [path.name for path in run.rglob("*")]
    assert "lightning_logs" not in names
    assert not [name for name in names if name.endswith((".ckpt", ".partial")) or "tmp" in name]
    assert not [name for name in names if name.startswith(".") and name != ".lock"]
