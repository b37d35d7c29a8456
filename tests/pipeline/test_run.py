import json
import os
import subprocess
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from histoweak.errors import ConfigError, OutputError
from histoweak.pipeline import Run, Stage, StageContext, read_metrics
from histoweak.pipeline import tensorboard as tensorboard_module
from histoweak.pipeline.lock import FolderLock
from histoweak.progress import Progress
from tests.pipeline.toy import FakeManifest, ToyConfig, contents, toy_stages

QUIET = Progress(quiet=True)
ROOT = Path(__file__).parents[2]


def read(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "run.json").read_text()))


def counted(calls: list[str], name: str, gain: float = 1.0, inputs: tuple[str, ...] = ()) -> Stage:
    def run(context: StageContext) -> None:
        calls.append(name)
        (context.out / "result").write_text(f"{name} {gain}")

    return Stage(name, ToyConfig(gain=gain), inputs, run)


def test_a_finished_run_is_not_run_again(tmp_path: Path) -> None:
    calls: list[str] = []
    stages = [counted(calls, "a"), counted(calls, "b", inputs=("a",))]
    run = Run(tmp_path / "run", FakeManifest(), progress=QUIET)
    first = run.execute(stages)
    assert first == run.execute(stages)
    assert calls == ["a", "b"]
    assert run.status() == {"a": "done", "b": "done"}


def test_a_changed_later_stage_reuses_the_earlier_one(tmp_path: Path) -> None:
    calls: list[str] = []
    run = Run(tmp_path / "run", FakeManifest(), progress=QUIET)
    run.execute([counted(calls, "a"), counted(calls, "b", 1.0, ("a",))])
    run.execute([counted(calls, "a"), counted(calls, "b", 2.0, ("a",))])
    run.execute([counted(calls, "a"), counted(calls, "c", 1.0, ("a",))])
    assert calls == ["a", "b", "b", "c"]
    assert len(list((tmp_path / "run" / "stages").iterdir())) == 4


def test_a_stage_gets_what_it_is_promised(tmp_path: Path) -> None:
    seen: list[StageContext] = []
    manifest = FakeManifest()
    stages = [counted([], "a"), Stage("b", ToyConfig(), ("a",), seen.append)]
    run = Run(tmp_path / "run", manifest, 7, device="cpu", workers=3, progress=QUIET)
    done = run.execute(stages)
    (context,) = seen
    assert context.inputs == {"a": done["a"]}
    assert (context.seed, context.manifest, context.workers) == (7, manifest, 3)
    assert context.out.parent == tmp_path / "run" / "work"


def test_run_json_tells_what_the_run_is(tmp_path: Path) -> None:
    run = Run(
        tmp_path / "run", FakeManifest(), 5,
        method="vgg-cam", recipe="default", config=ToyConfig(steps=2), progress=QUIET,
    )  # fmt: skip
    run.execute(toy_stages(ToyConfig(steps=2)))
    content = read(tmp_path / "run")
    assert (content["method"], content["recipe"], content["seed"]) == ("vgg-cam", "default", 5)
    assert content["config"]["steps"] == 2
    assert content["data"] == {"path": "table.csv", "digest": FakeManifest().digest()}
    assert content["device"] == "cpu"
    assert content["python"] == ".".join(map(str, sys.version_info[:3]))
    assert content["versions"]["numpy"] == __import__("numpy").__version__
    assert content["status"] == "done"
    assert [stage["name"] for stage in content["stages"]] == [
        "classifier", "pseudo-masks", "segmenter"
    ]  # fmt: skip
    for stage in content["stages"]:
        record = json.loads((tmp_path / "run" / stage["folder"] / "stage.json").read_text())
        assert record["key"] == stage["key"]
        assert record["config"]["steps"] == 2
        assert record["seconds"] >= 0


def test_status_is_true_while_the_run_goes(tmp_path: Path) -> None:
    run = Run(tmp_path / "run", FakeManifest(), progress=QUIET)
    assert run.status() == {}
    seen: list[dict[str, str]] = []
    look = Stage("look", ToyConfig(), ("a",), lambda context: seen.append(run.status()))
    run.execute([counted([], "a"), look, counted([], "z")])
    assert seen == [{"a": "done", "look": "running", "z": "pending"}]


def test_each_earlier_run_is_kept_in_the_history(tmp_path: Path) -> None:
    for method in ("one", "two", "three"):
        Run(tmp_path, FakeManifest(), method=method, progress=QUIET).execute([counted([], "a")])
    lines = (tmp_path / "history.jsonl").read_text().splitlines()
    assert [json.loads(line)["method"] for line in lines] == ["one", "two"]
    assert read(tmp_path)["method"] == "three"


def test_a_folder_of_other_data_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    Run(tmp_path, FakeManifest(), progress=QUIET).execute([counted([], "a")])
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    before.pop(tmp_path / ".lock")
    other = Run(tmp_path, FakeManifest("other", Path("other.csv")), progress=QUIET)
    with pytest.raises(OutputError, match=r"table\.csv .*not on other\.csv .*another --out"):
        other.execute([counted([], "a")])
    changed = Run(tmp_path, FakeManifest("changed"), progress=QUIET)
    with pytest.raises(OutputError, match="before it changed"):
        changed.execute([counted([], "a")])
    assert all(path.read_bytes() == data for path, data in before.items())


@pytest.mark.parametrize("text", ["{", "[]", '{"data": 3}', '{"data": {"digest": "a"}}', "\xff"])
def test_a_run_json_of_something_else_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(OutputError, match=r"run\.json.*not a record"):
        Run(tmp_path, FakeManifest(), progress=QUIET).execute([counted([], "a")])


def test_two_runs_in_one_folder_are_refused(tmp_path: Path) -> None:
    with (
        FolderLock(tmp_path / ".lock"),
        pytest.raises(OutputError, match="is running in this folder"),
    ):
        Run(tmp_path, FakeManifest(), progress=QUIET).execute([counted([], "a")])
    assert not (tmp_path / "run.json").exists()


class Stopped(BaseException):
    """Stands for what ends a program from outside."""


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("bad\nthing"), "ValueError: bad thing"),
        (KeyboardInterrupt(), "interrupted"),
        (Stopped(), "Stopped"),
    ],
)
def test_a_failure_is_recorded_and_its_work_taken_up(
    tmp_path: Path, error: BaseException, reason: str
) -> None:
    def run(context: StageContext) -> None:
        if (context.scratch / "half").exists():
            (context.out / "result").write_text("whole")
            return
        (context.scratch / "half").write_text("half")
        raise error

    stages = [counted([], "a"), Stage("b", ToyConfig(), ("a",), run), counted([], "c")]
    started = Run(tmp_path, FakeManifest(), progress=QUIET)
    with pytest.raises(type(error)):
        started.execute(stages)
    content = read(tmp_path)
    assert [stage["status"] for stage in content["stages"]] == ["done", "failed", "pending"]
    assert content["stages"][1]["reason"] == reason
    assert content["status"] == "failed"
    done = started.execute(stages)
    assert [path.name for path in sorted(done["b"].iterdir())] == ["result", "stage.json"]
    assert read(tmp_path)["reason"] is None


def test_figures_land_in_metrics_jsonl(tmp_path: Path) -> None:
    Run(tmp_path, FakeManifest(), progress=QUIET).execute(toy_stages(ToyConfig(steps=4)))
    entries = read_metrics(tmp_path / "metrics.jsonl", read(tmp_path)["stages"][2]["key"])
    assert [entry["step"] for entry in entries] == [1, 2, 3, 4]
    assert {entry["stage"] for entry in entries} == {"segmenter"}


def test_progress_tells_what_is_done_and_what_is_reused(tmp_path: Path) -> None:
    def said() -> str:
        stream = StringIO()
        run = Run(tmp_path, FakeManifest(), progress=Progress(stream=stream))
        run.execute([counted([], "a"), counted([], "b")])
        return stream.getvalue()

    assert said() == "[1/2] a: begins\n[2/2] b: begins\n"
    assert said() == "[1/2] a: finished before\n[2/2] b: finished before\n"


def test_result_does_not_depend_on_where_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    stages = toy_stages(ToyConfig(steps=3))
    Run(Path("relative"), FakeManifest(), progress=QUIET).execute(stages)
    Run(tmp_path / "deep" / "er", FakeManifest(), progress=QUIET).execute(stages)
    assert contents(tmp_path / "relative") == contents(tmp_path / "deep" / "er")


def test_missing_tensorboard_names_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensorboard_module.importlib.util, "find_spec", lambda name: None)
    run = Run(tmp_path / "run", FakeManifest(), tensorboard=True, progress=QUIET)
    with pytest.raises(ConfigError, match=r"pip install histoweak\[tensorboard\]"):
        run.execute([counted([], "a")])
    assert not (tmp_path / "run").exists()


def test_tensorboard_gets_the_numbers(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def attempt(first: int, last: int, offset: float) -> Callable[[StageContext], None]:
        def run(context: StageContext) -> None:
            for step in range(first, last):
                context.log(step=step, loss=step + offset, note="text", bad=float("nan"))
            if last < 6:
                raise ValueError("stop")

        return run

    def stage(work: Callable[[StageContext], None]) -> Stage:
        return Stage("fit", ToyConfig(), (), work)

    run = Run(tmp_path, FakeManifest(), tensorboard=True, progress=QUIET)
    with pytest.raises(ValueError, match="stop"):
        run.execute([stage(attempt(0, 4, 100.0))])
    run.execute([stage(attempt(2, 6, 0.0))])
    (folder,) = (tmp_path / "tensorboard").iterdir()
    events = EventAccumulator(str(folder))
    events.Reload()
    assert events.Tags()["scalars"] == ["loss"]
    found = [(event.step, event.value) for event in events.Scalars("loss")]
    assert found == [(0, 100.0), (1, 101.0), (2, 2.0), (3, 3.0), (4, 4.0), (5, 5.0)]


def test_importing_the_pipeline_loads_no_torch_and_no_data_layer() -> None:
    program = (
        "import sys, histoweak.pipeline; "
        "print([m for m in sys.modules if m.split('.')[0] in {'torch', 'numpy', 'rich'}"
        " or m.startswith('histoweak.data')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


def test_any_pydantic_model_can_be_a_config(tmp_path: Path) -> None:
    class Plain(BaseModel):
        value: int = 1

    stage = Stage("a", Plain(), (), lambda context: None)
    assert list(Run(tmp_path, FakeManifest(), progress=QUIET).execute([stage])) == ["a"]
