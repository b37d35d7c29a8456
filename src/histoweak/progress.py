"""Progress with time left: bars on a terminal, occasional plain lines everywhere else."""

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Self, TextIO, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress as Bars

T = TypeVar("T")


class Task:
    """One counted piece of work; on its own it counts silently.

    Ends by itself when `done` reaches `total`; a task of unknown length ends with `close()` or as
    a context manager. The time left is judged from what was done since the task began, so a
    resumed task that starts at `done` > 0 is not taken to be fast.

    Args:
        description: what is being done, e.g. `"tiling"`.
        total: number of units, or None where unknown.
        done: units that were done before, by an earlier attempt.
        clock: seconds that only ever grow.
    """

    def __init__(
        self,
        description: str,
        total: int | None,
        done: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.description, self.total, self.done = description, total, done
        self._first, self._clock, self._began = done, clock, clock()
        self._closed = False

    def advance(self, n: int = 1) -> None:
        """Count `n` more units as done."""
        self.done += n
        self._show(n)
        if self.total is not None and self.done >= self.total:
            self.close()

    def close(self) -> None:
        """End the task; ending it twice does no harm."""
        if not self._closed:
            self._closed = True
            self._finish()

    @property
    def elapsed(self) -> float:
        """Seconds since the task began."""
        return self._clock() - self._began

    @property
    def left(self) -> float | None:
        """Estimated seconds left, or None while nothing is known."""
        if self.total is None or self.done <= self._first:
            return None
        return max(0, self.total - self.done) * self.elapsed / (self.done - self._first)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _count(self) -> str:
        if self.total is None:
            return str(self.done)
        share = 100 * self.done // self.total if self.total else 100
        return f"{self.done}/{self.total} ({share}%)"

    def _summary(self) -> str:
        short = self.total is not None and self.done < self.total
        word = "stopped" if short else "done"
        return f"{self.description}: {word}, {self._count()} in {format_seconds(self.elapsed)}"

    def _show(self, n: int) -> None:
        """Show that `n` units were added."""

    def _finish(self) -> None:
        """Show that the task has ended."""


class _LineTask(Task):
    """Writes a line at the start, one per interval, and one at the end."""

    def __init__(
        self,
        description: str,
        total: int | None,
        done: int,
        *,
        progress: "Progress",
        nested: bool,
    ) -> None:
        super().__init__(description, total, done, progress.clock)
        self._progress = progress
        self._last = self._began
        # Inner tasks can be many and short (one per epoch): they stay silent until they last.
        self._silent = nested
        if not nested:
            self._progress.say(f"{self.description}: {self._count()}")

    def _show(self, n: int) -> None:
        if self._clock() - self._last >= self._progress.interval:
            self._last = self._clock()
            self._silent = False
            left = "" if self.left is None else f", {format_seconds(self.left)} left"
            elapsed = format_seconds(self.elapsed)
            self._progress.say(f"{self.description}: {self._count()}, {elapsed} elapsed{left}")

    def _finish(self) -> None:
        self._progress.forget(self)
        if not self._silent:
            self._progress.say(self._summary())


class _BarTask(Task):
    """Moves one bar of a live display; when it ends, an outer task leaves a line behind."""

    def __init__(
        self,
        description: str,
        total: int | None,
        done: int,
        *,
        progress: "Progress",
        bars: "Bars",
        nested: bool,
    ) -> None:
        super().__init__(description, total, done, progress.clock)
        self._progress, self._bars, self._nested = progress, bars, nested
        label = f"  {description}" if nested else description
        self._id = bars.add_task(label, total=total, completed=done)

    def _show(self, n: int) -> None:
        self._bars.advance(self._id, n)

    def _finish(self) -> None:
        self._progress.forget(self)
        # Finished bars would pile up beyond the height of the terminal.
        self._bars.remove_task(self._id)
        if not self._nested:
            self._progress.say(self._summary())


class Progress:
    """Shows how far a program has come, on standard error.

    Args:
        quiet: count, but show nothing.
        stream: where to write; standard error by default.
        interval: seconds between two plain lines of one task.
        clock: seconds that only ever grow.
    """

    def __init__(
        self,
        *,
        quiet: bool = False,
        stream: TextIO | None = None,
        interval: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.quiet = quiet
        self.stream = sys.stderr if stream is None else stream
        self.interval, self.clock = interval, clock
        self._terminal = self.stream.isatty() and os.environ.get("TERM") != "dumb"
        self._bars: Bars | None = None
        self._open: list[Task] = []

    def task(self, total: int | None, description: str, done: int = 0) -> Task:
        """Begin a task of `total` units (None: unknown), of which `done` are done already.

        A task begun while another one is open is shown beneath it.
        """
        if self.quiet:
            return Task(description, total, done, self.clock)
        nested = bool(self._open)
        task: Task
        if self._terminal:
            bars = self._live()
            task = _BarTask(description, total, done, progress=self, bars=bars, nested=nested)
        else:
            task = _LineTask(description, total, done, progress=self, nested=nested)
        self._open.append(task)
        return task

    def track(self, items: Iterable[T], total: int | None, description: str) -> Iterator[T]:
        """Yield `items`, counting one unit after each."""
        with self.task(total, description) as task:
            for item in items:
                yield item
                task.advance(1)

    def say(self, line: str) -> None:
        """Write one line of text, above the bars where there are any."""
        if self.quiet:
            return
        if self._bars is not None:
            self._bars.console.print(line, markup=False, highlight=False)
        else:
            print(line, file=self.stream, flush=True)

    def forget(self, task: Task) -> None:
        """Drop a task that has ended."""
        if task in self._open:
            self._open.remove(task)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for task in reversed(self._open.copy()):
            task.close()
        if self._bars is not None:
            self._bars.stop()
            self._bars = None

    def _live(self) -> "Bars":
        """The live display, begun when the first task needs it."""
        if self._bars is None:
            self._bars = _start_bars(self.stream)
        return self._bars


def _start_bars(stream: TextIO) -> "Bars":
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    bars = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("left"),
        console=Console(file=stream),
        # Results piped from standard output must not end up among the bars.
        redirect_stdout=sys.stdout.isatty(),
    )
    bars.start()
    return bars


def format_seconds(seconds: float) -> str:
    """`h:mm:ss`, or `m:ss` under an hour."""
    minutes, second = divmod(int(seconds + 0.5), 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour}:{minute:02d}:{second:02d}" if hour else f"{minute}:{second:02d}"
