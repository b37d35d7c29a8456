"""Full disks and missing permissions, for real where the machine lets us."""

import errno
import json
import os
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from histoweak.errors import ConfigError, OutputError
from histoweak.pipeline import Run, Stage, StageContext
from histoweak.pipeline.faults import as_output_error
from histoweak.progress import Progress
from tests.pipeline.toy import FakeManifest, ToyConfig

NOBODY = 65534


def execute(folder: Path, *stages: Stage) -> dict[str, Path]:
    return Run(folder, FakeManifest(), progress=Progress(quiet=True)).execute(stages)


def writer(size: int) -> Callable[[StageContext], None]:
    def run(context: StageContext) -> None:
        (context.out / "data.bin").write_bytes(b"x" * size)

    return run


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    if os.getuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a tiny disk needs root")
    if subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("this machine does not let us mount a tiny disk")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_full_disk_loses_nothing_and_resumes(tiny_disk: Path) -> None:
    folder = tiny_disk / "run"
    first = Stage("first", ToyConfig(), (), writer(100_000))
    second = Stage("second", ToyConfig(), ("first",), writer(2_000_000))
    with pytest.raises(OutputError, match=r"full.*Free space and run the same command again"):
        execute(folder, first, second)
    assert len(list((folder / "stages").iterdir())) == 1
    assert json.loads((folder / "run.json").read_text())["stages"][0]["status"] == "done"
    larger = ["mount", "-o", "remount,size=8m", str(tiny_disk)]
    subprocess.run(larger, check=True)
    done = execute(folder, first, second)
    assert (done["second"] / "data.bin").stat().st_size == 2_000_000


def test_full_disk_is_recognised_without_an_error_number(tiny_disk: Path) -> None:
    def run(context: StageContext) -> None:
        with (context.out / "weights").open("wb", buffering=0) as file:
            while file.write(b"x" * 4096) == 4096:
                pass
        raise RuntimeError("PytorchStreamWriter failed writing file")

    with pytest.raises(OutputError, match="full"):
        execute(tiny_disk / "run", Stage("fit", ToyConfig(), (), run))


def in_child(work: Callable[[], object]) -> str:
    """The OutputError that `work` raises in a child process, as text."""
    reader, pipe = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            work()
            os.write(pipe, b"no error")
        except BaseException as error:  # all that happens in the child must reach the parent
            os.write(pipe, f"{type(error).__name__}: {error}".encode())
        os._exit(0)
    os.close(pipe)
    os.waitpid(child, 0)
    with os.fdopen(reader) as file:
        return file.read()


def test_file_size_limit(tmp_path: Path) -> None:
    def work() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        execute(tmp_path / "run", Stage("fit", ToyConfig(), (), writer(200_000)))

    message = in_child(work)
    assert message.startswith("OutputError")
    assert "File too large" in message
    content = json.loads((tmp_path / "run" / "run.json").read_text())
    assert content["status"] == "failed"
    assert "File too large" in content["stages"][0]["reason"]


def test_no_permission(tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o555)

    def work() -> None:
        if os.getuid() == 0:
            os.setuid(NOBODY)
        execute(folder / "run", Stage("fit", ToyConfig(), (), writer(1)))

    message = in_child(work)
    assert message.startswith(f"OutputError: {folder / 'run'}: cannot be written (Permission")
    assert "--out" in message


def test_a_file_where_the_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for folder in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(OutputError, match=rf"{folder}: cannot be written"):
            execute(folder, Stage("fit", ToyConfig(), (), writer(1)))
    assert (tmp_path / "file").read_text() == "mine"


def test_only_errors_of_the_output_are_explained(tmp_path: Path) -> None:
    def denied(path: Path) -> OSError:
        return PermissionError(errno.EACCES, "Permission denied", str(path))

    assert as_output_error(denied(tmp_path / "out" / "a"), tmp_path / "out") is not None
    assert as_output_error(denied(tmp_path / "images" / "a.png"), tmp_path / "out") is None
    assert as_output_error(FileNotFoundError(errno.ENOENT, "gone"), tmp_path) is None
    assert as_output_error(ValueError("wrong"), tmp_path) is None
    assert as_output_error(ConfigError("wrong", remedy="Mend it"), tmp_path) is None
    assert as_output_error(KeyboardInterrupt(), tmp_path) is None


def test_the_reason_is_found_beneath_other_errors(tmp_path: Path) -> None:
    wrapped = ValueError("cannot save")
    wrapped.__cause__ = OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "a"))
    explained = as_output_error(wrapped, tmp_path)
    assert explained is not None
    assert explained.where == tmp_path / "a"
    rust = Exception("I/O error: No space left on device (os error 28)")
    assert as_output_error(rust, tmp_path) is not None
