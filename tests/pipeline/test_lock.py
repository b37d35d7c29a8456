import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from histoweak.errors import OutputError
from histoweak.pipeline.lock import FolderLock, is_locked


def test_the_second_is_refused_until_the_first_lets_go(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    assert not is_locked(path)
    with FolderLock(path):
        assert is_locked(path)
        with pytest.raises(OutputError, match=rf"{tmp_path}.*process {os.getpid()} on"):
            FolderLock(path).__enter__()
    assert not is_locked(path)
    with FolderLock(path):
        pass


def test_a_killed_holder_leaves_no_lock_though_its_forked_worker_lives(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    reader, writer = os.pipe()
    holder = os.fork()
    if holder == 0:
        FolderLock(path).__enter__()
        worker = os.fork()
        if worker == 0:
            time.sleep(60)
            os._exit(0)
        os.write(writer, f"{worker}\n".encode())
        time.sleep(60)
        os._exit(0)
    worker = int(os.read(reader, 20))
    try:
        assert is_locked(path)
        os.kill(holder, signal.SIGKILL)
        os.waitpid(holder, 0)
        assert not is_locked(path)
    finally:
        os.kill(worker, signal.SIGKILL)
        os.close(reader)
        os.close(writer)


def test_a_forked_child_does_not_release_the_lock(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with FolderLock(path):
        child = multiprocessing.get_context("fork").Process(target=int)
        child.start()
        child.join()
        assert is_locked(path)
