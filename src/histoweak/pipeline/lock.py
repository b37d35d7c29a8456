"""One run per folder: a lock that the operating system drops when its holder dies."""

import errno
import fcntl
import os
import platform
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Self

from histoweak.atomic import remove_temporaries
from histoweak.errors import OutputError
from histoweak.pipeline.faults import explain_faults

LOCK = ".lock"
"""Name of the lock file of a run folder."""

_UNSUPPORTED = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}
_ATTEMPTS, _PAUSE = 10, 0.05

_held: set[int] = set()


def _close_in_child() -> None:
    # A forked data loader would otherwise keep the lock alive after its parent was killed.
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_close_in_child)


class FolderLock:
    """Context manager that holds the lock file `path` for itself alone.

    Raises:
        OutputError: another process holds it.
        OSError: the lock file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = -1

    def __enter__(self) -> Self:
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            self._lock(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        _held.add(descriptor)
        with suppress(OSError):  # only tells people who holds the lock; the disk may be full
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"process {os.getpid()} on {platform.node()}".encode(), 0)
        return self

    def __exit__(self, *_: object) -> None:
        if self._descriptor in _held:
            _held.discard(self._descriptor)
            os.close(self._descriptor)

    def _lock(self, descriptor: int) -> None:
        for attempt in range(_ATTEMPTS):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except OSError as error:
                if error.errno in _UNSUPPORTED:
                    warnings.warn(
                        f"{self.path}: this file system has no locks; "
                        "make sure that no second run writes in the same folder",
                        stacklevel=4,
                    )
                    return
                if error.errno not in {errno.EWOULDBLOCK, errno.EACCES}:
                    raise
            if attempt < _ATTEMPTS - 1:  # `is_locked` may be looking right now
                time.sleep(_PAUSE)
        holder = os.pread(descriptor, 200, 0).decode(errors="replace") or "another process"
        raise OutputError(
            f"{holder} is running in this folder",
            where=self.path.parent,
            remedy="Wait until it has ended, stop it, or give another --out",
        )


def is_locked(path: Path) -> bool:
    """Whether a living process holds the lock file `path`.

    True as well where the file system has no locks, for nobody can know.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


@contextmanager
def hold_folder(folder: Path) -> Iterator[None]:
    """Hold a run folder, created when missing, and clear what killed writers left in it.

    Args:
        folder: the run folder, absolute.

    Raises:
        OutputError: another process holds it, or it cannot be written.
    """
    with ExitStack() as stack:
        # From the root on: it may be a parent of the folder that cannot be written.
        with explain_faults(Path(folder.anchor)):
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(FolderLock(folder / LOCK))
            remove_temporaries(folder, recursive=False)
        yield
