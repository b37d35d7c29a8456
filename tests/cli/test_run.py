"""`histoweak run` and its switches, in processes of their own."""

import json
import multiprocessing
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from histoweak.pipeline import read_metrics
from tests import program
from tests.conftest import TINY, write_settings


@pytest.fixture
def words(phantom: Path, tmp_path: Path) -> list[object]:
    settings = write_settings(tmp_path / "tiny.yaml", TINY["vgg-cam"])
    return ["run", "vgg-cam", "--data", phantom, "--config", settings]


def evaluation(run: Path) -> dict[str, Any]:
    (path,) = (run / "stages").glob("evaluation-*/evaluation.json")
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def networks(run: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted((run / "stages").glob("*/model/*.safetensors"))]


def test_where_it_computes_is_no_part_of_the_keys(
    words: list[object], whole_run: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(whole_run, run)
    elsewhere = ("--devices", 1, "--num-nodes", 1, "--set", "runtime.workers=1")
    ended = program.run(*words, "--out", run, *elsewhere)
    assert ended.code == 0, ended
    stages = [line for line in ended.stderr.splitlines() if line.startswith("[")]
    assert len(stages) == 6 and all(line.endswith(": finished before") for line in stages)
    assert json.loads((run / "run.json").read_text())["config"]["runtime"]["workers"] == 1


def fork_loaders() -> None:
    """Let loaders be forks, which need not import torch again."""
    multiprocessing.set_start_method("fork", force=True)


def test_loader_processes_change_nothing(
    words: list[object], whole_run: Path, tmp_path: Path
) -> None:
    settings = ("--out", tmp_path / "run", "--set", "runtime.workers=2")
    ended = program.run(*words, *settings, before=fork_loaders)
    assert ended.code == 0, ended
    assert networks(tmp_path / "run") == networks(whole_run)


def test_checkpoints_are_chosen_as_asked(words: list[object], tmp_path: Path) -> None:
    run = tmp_path / "run"
    ended = program.run(*words, "--out", run, "--select", "val-mask")
    assert ended.code == 0, ended
    assert "checkpoint val-mask" in ended.stdout
    assert evaluation(run)["selection"] == "val-mask"
    scored = [e for e in read_metrics(run / "metrics.jsonl") if "validation" in e]
    assert [(e["stage"], e["step"]) for e in scored] == [
        ("classifier", 2), ("classifier", 5), ("segmenter", 2), ("segmenter", 5),
    ]  # fmt: skip
    provenance = json.loads((run / "model" / "config.json").read_text())["provenance"]
    assert provenance["select"] == "val-mask"


def test_the_last_checkpoint_is_the_default(whole_run: Path) -> None:
    assert evaluation(whole_run)["selection"] == "last"
    assert not [e for e in read_metrics(whole_run / "metrics.jsonl") if "validation" in e]


def test_figures_are_printed_reported_and_logged(words: list[object], tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="TensorBoard is an extra and not installed")
    run = tmp_path / "run"
    ended = program.run(*words, "--out", run, "--tensorboard")
    assert ended.code == 0, ended
    folders = sorted(path.parent.name for path in run.glob("tensorboard/*/events.*"))
    assert [name.split("-")[0] for name in folders] == ["classifier", "segmenter"]
    assert f"report: {run / 'report.html'}\n" in ended.stdout
    lines = ended.stdout.splitlines()
    (line,) = [row for row in lines if row.startswith("│ mIoU  ")]
    for rung in evaluation(run)["ladder"]:
        assert f"{rung['miou_present']:.4f}" in line
        assert any(f" {rung['name']} " in row for row in lines)
    (run / "report.html").unlink()
    assert program.run("report", run).code == 0
    assert (run / "report.html").stat().st_size > 10_000


def test_help_and_import_load_no_torch() -> None:
    code = (
        "import sys, histoweak; from histoweak.cli import main; sys.argv = ['histoweak', 'run', "
        "'--help']\ntry: main()\nexcept SystemExit: assert 'torch' not in sys.modules"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    assert "--select" in shown.stdout
