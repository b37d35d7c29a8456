"""Several processes of one run, without Lightning."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from histoweak.errors import TrainingError
from histoweak.pipeline import Run, Stage, is_leader, read_metrics
from histoweak.pipeline.lock import FolderLock
from tests.pipeline.toy import FakeManifest, ToyConfig

ROOT = Path(__file__).parents[2]
RESULT = "before=alone fit=together after=alone"


def start(rank: int, folder: Path, *options: str) -> subprocess.Popen[str]:
    meeting = folder.parent / "meeting"
    meeting.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-m", "tests.pipeline.ranks", str(folder), str(meeting), *options],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "LOCAL_RANK": str(rank)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_only_the_leader_writes_and_all_get_the_artefacts(
    tmp_path: Path, order: tuple[int, int]
) -> None:
    children = {rank: start(rank, tmp_path / "run") for rank in order}
    outputs = {rank: child.communicate(timeout=60) for rank, child in children.items()}
    assert outputs[0] == (f"{RESULT}\n", "")
    assert outputs[1] == (f"{RESULT}\n", "")
    calls = (tmp_path / "meeting" / "calls").read_text().splitlines()
    assert sorted(calls) == ["alone rank0", "alone rank0", "together rank0", "together rank1"]
    assert len(read_metrics(tmp_path / "run" / "metrics.jsonl")) == 1


def test_a_failure_of_the_leader_reaches_the_follower(tmp_path: Path) -> None:
    children = [start(rank, tmp_path / "run", "--fail") for rank in (0, 1)]
    errors = [child.communicate(timeout=60)[1] for child in children]
    assert "the loss is not a number" in errors[0]
    assert "first process ended before stage 'fit'" in errors[1]
    assert "the loss is not a number" in errors[1]
    assert "run.json" in errors[1]


def test_a_killed_leader_does_not_leave_the_follower_waiting(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with FolderLock(tmp_path / "run" / ".lock"):
        follower = start(1, tmp_path / "run")
        with pytest.raises(subprocess.TimeoutExpired):
            follower.communicate(timeout=2)
    assert "first process ended" in follower.communicate(timeout=60)[1]


def test_a_follower_without_leader_gives_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "2")
    run = Run(tmp_path / "run", FakeManifest(), grace=0)
    with pytest.raises(TrainingError, match="first process"):
        run.execute([Stage("a", ToyConfig(), (), print)])
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, True),
        ({"LOCAL_RANK": "0", "NODE_RANK": "0", "RANK": "0"}, True),
        ({"LOCAL_RANK": "1"}, False),
        ({"LOCAL_RANK": "0", "NODE_RANK": "1"}, False),
        ({"LOCAL_RANK": "0", "RANK": "4"}, False),
        ({"SLURM_PROCID": "0"}, True),
        ({"SLURM_PROCID": "3"}, False),
    ],
)
def test_who_leads(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], expected: bool
) -> None:
    for name in ("RANK", "NODE_RANK", "LOCAL_RANK", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert is_leader() is expected
