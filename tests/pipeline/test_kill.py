"""Real kills: the resumed run must end with the same bytes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from histoweak.pipeline import Run, read_metrics
from histoweak.progress import Progress
from tests.pipeline.toy import FakeManifest, ToyConfig, contents, toy_stages

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
PAUSE = 0.01
STEPS = 12
SPAN = 3 * STEPS * PAUSE


def start(folder: Path, *options: str) -> subprocess.Popen[str]:
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.pipeline.toy", str(folder), *options],
        cwd=ROOT,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    return child


def resume(folder: Path) -> None:
    """In this process, for the sake of speed."""
    run = Run(folder, FakeManifest(), 3, progress=Progress(quiet=True))
    run.execute(toy_stages(ToyConfig(steps=STEPS)))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    resume(folder)
    return folder


@pytest.mark.parametrize("share", [0.0, 0.08, 0.2, 0.35, 0.5, 0.7, 0.85, 1.0])
def test_killed_run_ends_with_the_same_bytes(whole: Path, tmp_path: Path, share: float) -> None:
    folder = tmp_path / "run"
    child = start(folder, "--steps", str(STEPS), "--pause", str(PAUSE))
    time.sleep(share * SPAN)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    resume(folder)
    assert contents(folder) == contents(whole)
    assert not list((folder / "work").iterdir())
    assert json.loads((folder / "run.json").read_text())["status"] == "done"


def test_killed_again_and_again(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    for share in (0.15, 0.3, 0.3, 0.3):
        child = start(folder, "--steps", str(STEPS), "--pause", str(PAUSE))
        time.sleep(share * SPAN)
        child.kill()
        child.communicate()
    resume(folder)
    assert contents(folder) == contents(whole)

    def losses(run: Path) -> list[tuple[str, int, float]]:
        entries = read_metrics(run / "metrics.jsonl")
        return sorted((e["stage"], e["step"], e["loss"]) for e in entries)

    assert losses(folder) == losses(whole)


# Each call that changes the folder is a moment of its own: kill before the first, the second, ...
SWEEP = """
import os, signal, sys
from pathlib import Path
from histoweak.pipeline import Run
from histoweak.pipeline.record import describe_environment
from histoweak.progress import Progress
from tests.pipeline.toy import FakeManifest, ToyConfig, toy_stages

CHANGES = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree"}
folder, moment, count = "", 0, 0

def watch(event, arguments):
    global count
    if event in CHANGES and any(folder and folder in str(argument) for argument in arguments):
        count += 1
        if count == moment:
            os.kill(os.getpid(), signal.SIGKILL)

describe_environment()  # slow, and cached for the children
sys.addaudithook(watch)
stages = toy_stages(ToyConfig(steps=2))[:1]
code = -signal.SIGKILL
while code:
    moment += 1
    child = os.fork()
    if child == 0:
        folder = f"{sys.argv[1]}-{moment}"
        Run(Path(folder), FakeManifest(), 3, progress=Progress(quiet=True)).execute(stages)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in {0, -signal.SIGKILL}
print(moment)
"""


def test_kill_before_each_change_of_the_folder(tmp_path: Path) -> None:
    sweep = subprocess.run(
        [sys.executable, "-c", SWEEP, str(tmp_path / "run")],
        cwd=ROOT,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=True,
    )
    moments = int(sweep.stdout)
    assert moments > 40
    stages = toy_stages(ToyConfig(steps=2))[:1]
    whole = contents(tmp_path / f"run-{moments}")
    for moment in range(1, moments):
        folder = tmp_path / f"run-{moment}"
        Run(folder, FakeManifest(), 3, progress=Progress(quiet=True)).execute(stages)
        assert contents(folder) == whole, f"killed before change {moment}"
        assert not list(folder.rglob(".tmp-*"))
