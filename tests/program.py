"""The command line in processes of its own, which tests can interrupt, kill or starve.

Importing the networks takes longer than a tiny run, so one process imports them, and each program
is a fork of it: what runs is still `histoweak.cli.main` with its own process, output and exit code.
"""

import multiprocessing
import os
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

HEAVY = [
    "histoweak.api",
    "histoweak.cli",
    "histoweak.cli.ladder",
    "histoweak.methods.mlps",
    "histoweak.methods.supervised",
    "histoweak.methods.vgg_cam",
    "histoweak.report.from_run",
]


@dataclass(frozen=True)
class Ended:
    """What a program left: exit code (negative: killed by that signal) and what it printed."""

    code: int
    stdout: str
    stderr: str

    @property
    def error(self) -> str:
        """What it printed apart from progress."""
        return "".join(line for line in self.stderr.splitlines(True) if line.startswith("error"))


@dataclass(frozen=True)
class Program:
    """A program that runs."""

    process: ForkServerProcess
    folder: Path

    def kill_when(self, moment: Callable[[], bool], signum: int = signal.SIGKILL) -> Ended:
        """Send a signal as soon as `moment` has come."""
        while not moment():
            assert self.process.is_alive(), f"ended before the moment came: {self.wait()}"
            time.sleep(0.001)
        assert self.process.pid is not None
        os.kill(self.process.pid, signum)
        return self.wait()

    def wait(self) -> Ended:
        """Wait for the end, at most some minutes."""
        self.process.join(300)
        code = self.process.exitcode
        if code is None:
            self.process.kill()
            raise TimeoutError("the program hangs")
        out, err = ((self.folder / name).read_text() for name in ("stdout", "stderr"))
        shutil.rmtree(self.folder)
        return Ended(code, out, err)


def _context() -> ForkServerContext:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(HEAVY)
    return context


def start(
    *arguments: object,
    file_limit: int | None = None,
    before: Callable[[], None] | None = None,
) -> Program:
    """Start the program.

    Args:
        arguments: of the command line.
        file_limit: bytes that a file may have; writing more fails as on a full disk.
        before: function of a module, called in the process before the program.
    """
    folder = Path(mkdtemp(prefix="histoweak-program-"))
    words = [str(argument) for argument in arguments]
    process = _context().Process(target=_main, args=(words, folder, file_limit, before))
    process.start()
    return Program(process, folder)


def run(*arguments: object, **limits: Any) -> Ended:
    """Run the program to its end; arguments as for `start`."""
    return start(*arguments, **limits).wait()


def _main(
    arguments: list[str],
    folder: Path,
    file_limit: int | None,
    before: Callable[[], None] | None,
) -> None:
    from histoweak.cli import main

    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        file = os.open(folder / name, os.O_WRONLY | os.O_CREAT)
        os.dup2(file, descriptor)
    if file_limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))
    if before is not None:
        before()
    sys.argv = ["histoweak", *arguments]
    main()
