"""Two processes through the command line: they share the work and give what one process gives."""

import json
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from tests import program
from tests.conftest import FIT, TINY, write_settings

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}",
    "OMP_NUM_THREADS": "1",
}


def test_two_processes_share_the_work(phantom: Path, tmp_path: Path) -> None:
    settings = {
        **TINY["vgg-cam"],
        # Without batch normalisation, whose statistics each process takes of its own crops.
        "classifier": {"net": {"encoder": "vgg16", "vgg_width": 0.05}, "fit": FIT},
        "segmenter": {**TINY["vgg-cam"]["segmenter"], "fit": {**FIT, "ema": 0.9}},
    }
    words = ["run", "vgg-cam", "--data", phantom]
    words += ["--config", write_settings(tmp_path / "tiny.yaml", settings)]
    two = [*words, "--out", tmp_path / "two", "--devices", 2, "--strategy", "ddp"]
    ended = subprocess.run(
        [sys.executable, "-m", "tests.training.recorded_program", *map(str, two)],
        cwd=ROOT,
        env={**ENVIRONMENT, "RECORD": str(tmp_path / "calls")},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    assert_each_rank_saw_its_own_slots(tmp_path / "calls")
    assert_only_the_first_process_spoke(ended)
    run = json.loads((tmp_path / "two" / "run.json").read_text())
    assert run["status"] == "done"
    assert not list((tmp_path / "two" / "work").iterdir())

    assert program.run(*words, "--out", tmp_path / "one").code == 0
    pair = [classifier_weights(tmp_path / name) for name in ("one", "two")]
    for name, value in pair[0].items():
        np.testing.assert_allclose(value, pair[1][name], atol=1e-5, err_msg=name)


def assert_each_rank_saw_its_own_slots(calls: Path) -> None:
    slots = defaultdict(list)
    for line in calls.read_text().splitlines():
        kind, rank, step, slot = line.split()
        slots[kind, int(rank)].append((int(step), int(slot)))
    for kind in ("classifier", "segmenter"):
        for rank in (0, 1):
            assert slots[kind, rank] == [(step, s) for step in range(6) for s in (rank, rank + 2)]


def assert_only_the_first_process_spoke(ended: subprocess.CompletedProcess[str]) -> None:
    assert ended.stdout.count("report: ") == 1
    for line in ended.stderr.splitlines():
        assert line.startswith("[") or ": " in line, line
    assert ended.stderr.count("training the classifier: done, 6/6 (100%)") == 1
    assert "arn" not in ended.stderr.replace("learn", "")
    assert "INFO" not in ended.stderr


def classifier_weights(run: Path) -> dict[str, np.ndarray]:
    (path,) = (run / "stages").glob("classifier-*/model/model.safetensors")
    return load_file(path)
