"""Turn a full disk or a missing permission into an error that tells what to do."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from histoweak.errors import HistoweakError, OutputError

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_ACCESS = {
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
    errno.ENAMETOOLONG,
}
# Writers in Rust and C++ pass on the text of the error, not its number.
_NO_SPACE_TEXTS = ("No space left on device", "Disk quota exceeded", "os error 28")
_NEARLY_FULL = 1 << 20


@contextmanager
def explain_faults(folder: Path) -> Iterator[None]:
    """Raise `OutputError` in place of what a full disk or a missing permission raises.

    Args:
        folder: the folder that is being written, absolute.

    Raises:
        OutputError: naming the file and the remedy.
    """
    try:
        yield
    except Exception as error:
        explained = as_output_error(error, folder)
        if explained is None:
            raise
        raise explained from error


def as_output_error(error: BaseException, folder: Path) -> OutputError | None:
    """Explain an error if it comes from writing below `folder`.

    Args:
        error: what was raised.
        folder: the folder that is being written, absolute.

    Returns:
        The error to raise in its place, or None where `error` is of another kind.
    """
    if isinstance(error, HistoweakError) or not isinstance(error, Exception):
        return None
    for link in _chain(error):
        where = _file_of(link) or folder
        if _is_no_space(link):
            return _no_space(where, str(link))
        if isinstance(link, OSError) and link.errno in _NO_ACCESS and _below(where, folder):
            return OutputError(
                f"cannot be written ({os.strerror(link.errno)})",
                where=where,
                expected="a folder that this user may write in",
                remedy="Correct the permissions or give another --out; finished stages stay",
            )
    # numpy (OSError) and torch (RuntimeError) report a short write without its cause.
    if isinstance(error, OSError | RuntimeError):
        with suppress(OSError):
            if shutil.disk_usage(folder).free < _NEARLY_FULL:
                return _no_space(folder, f"{type(error).__name__}: {error}")
    return None


def _no_space(where: Path, detail: str) -> OutputError:
    return OutputError(
        f"the disk or the quota is full ({' '.join(detail.split())})",
        where=where,
        remedy="Free space and run the same command again: finished stages stay, "
        "and the work goes on where it stopped",
    )


def _is_no_space(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno in _NO_SPACE:
        return True
    return any(text in str(error) for text in _NO_SPACE_TEXTS)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what it was raised from."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)


def _file_of(error: BaseException) -> Path | None:
    name = error.filename if isinstance(error, OSError) else None
    return Path(os.fsdecode(name)) if isinstance(name, str | bytes | os.PathLike) else None


def _below(path: Path, folder: Path) -> bool:
    return path.absolute().is_relative_to(folder)
