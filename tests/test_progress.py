import os
import pty
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest

from histoweak.progress import Progress, Task, format_seconds


class Clock:
    """A clock that goes when told to."""

    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        return self.time


def lines(stream: StringIO) -> list[str]:
    return stream.getvalue().splitlines()


def test_plain_lines_come_at_start_each_interval_and_end() -> None:
    clock, stream = Clock(), StringIO()
    with Progress(stream=stream, clock=clock) as progress:
        task = progress.task(100, "tiling")
        for _ in range(100):
            clock.time += 0.5
            task.advance()
    assert lines(stream) == [
        "tiling: 0/100 (0%)",
        "tiling: 20/100 (20%), 0:10 elapsed, 0:40 left",
        "tiling: 40/100 (40%), 0:20 elapsed, 0:30 left",
        "tiling: 60/100 (60%), 0:30 elapsed, 0:20 left",
        "tiling: 80/100 (80%), 0:40 elapsed, 0:10 left",
        "tiling: 100/100 (100%), 0:50 elapsed, 0:00 left",
        "tiling: done, 100/100 (100%) in 0:50",
    ]


def test_time_left_of_a_resumed_task_counts_this_attempt_only() -> None:
    clock = Clock()
    task = Task("fit", 100, done=80, clock=clock)
    assert task.left is None
    clock.time = 10
    task.advance(10)
    assert task.left == 10


def test_short_inner_tasks_are_silent_and_long_ones_speak() -> None:
    clock, stream = Clock(), StringIO()
    with Progress(stream=stream, clock=clock) as progress:
        outer = progress.task(2, "epochs")
        for seconds in (0.1, 6):
            for _ in progress.track(range(4), 4, "batches"):
                clock.time += seconds
            outer.advance()
    assert lines(stream) == [
        "epochs: 0/2 (0%)",
        "batches: 2/4 (50%), 0:12 elapsed, 0:12 left",
        "batches: 4/4 (100%), 0:24 elapsed, 0:00 left",
        "batches: done, 4/4 (100%) in 0:24",
        "epochs: 2/2 (100%), 0:24 elapsed, 0:00 left",
        "epochs: done, 2/2 (100%) in 0:24",
    ]


def test_unknown_totals_and_early_ends() -> None:
    stream = StringIO()
    with Progress(stream=stream) as progress:
        with progress.task(None, "reading") as task:
            task.advance(7)
        progress.task(3, "half").advance()
    assert lines(stream) == [
        "reading: 0",
        "reading: done, 7 in 0:00",
        "half: 0/3 (0%)",
        "half: stopped, 1/3 (33%) in 0:00",
    ]


def test_track_ends_its_task_when_the_loop_breaks() -> None:
    stream = StringIO()
    progress = Progress(stream=stream)
    with pytest.raises(ValueError, match="stop"):
        _raise_at(2, progress)
    assert lines(stream)[-1] == "items: stopped, 2/5 (40%) in 0:00"


def _raise_at(position: int, progress: Progress) -> None:
    for item in progress.track(range(5), 5, "items"):
        if item == position:
            raise ValueError("stop")


def test_quiet_shows_nothing_but_counts(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(quiet=True) as progress:
        progress.say("nothing")
        task = progress.task(5, "work")
        assert list(progress.track("ab", 2, "inner")) == ["a", "b"]
        task.advance(2)
        assert task.done == 2
    assert capsys.readouterr() == ("", "")


def test_standard_output_stays_clean(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress() as progress:
        progress.say("hello")
        progress.task(1, "work").advance()
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[0] == "hello"


def test_bars_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    reader, writer = pty.openpty()
    with os.fdopen(writer, "w") as stream:
        with Progress(stream=stream) as progress:
            task = progress.task(4, "fit [1]")
            progress.say("above [2]")
            with progress.task(2, "inner") as inner:
                inner.advance()
            task.advance(4)
        shown = os.read(reader, 100_000).decode()
    os.close(reader)
    for part in ("fit [1]", "above [2]", "inner", "left", "fit [1]: done, 4/4 (100%) in 0:00"):
        assert part in shown
    assert "inner: " not in shown


def test_seconds_as_people_write_them() -> None:
    assert [format_seconds(s) for s in (0, 59.6, 61, 3600, 36061)] == [
        "0:00", "1:00", "1:01", "1:00:00", "10:01:01"
    ]  # fmt: skip


def test_rich_is_loaded_only_when_needed() -> None:
    program = "import sys, histoweak.progress as p; p.Progress(); print('rich' in sys.modules)"
    source = Path(__file__).parents[1] / "src"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(source)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "False\n"
