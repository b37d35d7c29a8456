"""Files that are either absent, old or complete: never half written, whenever the power goes."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from histoweak.errors import OutputError

TEMPORARY = ".tmp-"
"""How the names of unfinished files begin."""


@contextmanager
def atomic_path(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Lend a temporary path beside `path`; what was written there takes the place of `path`.

    For writers that want a path, such as `safetensors.torch.save_file`. The temporary name ends
    like the final one, so that writers that judge by the suffix do what they should. If the block
    raises, the temporary file goes and `path` stays as it was.

    Args:
        path: the file to create or replace; its folder must exist.
        durable: wait until the disk has it, which takes too long for thousands of pictures.

    Raises:
        OSError: the file cannot be written.
    """
    name = f"{TEMPORARY}{secrets.token_hex(6)}-{path.stem[:40]}{path.suffix}"
    temporary = path.with_name(name)
    try:
        yield temporary
        if durable:
            sync_file(temporary)
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    if durable:
        sync_folder(path.parent)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Lend a path as `atomic_path` does, not durable, for files that a user asked for.

    Folders are made as needed. When the block raises, `path` stays as it was.

    Raises:
        OutputError: the folder or file cannot be written (no permission, full disk, ...).
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path, durable=False) as temporary:
            yield temporary
    except OSError as error:
        raise OutputError(
            f"cannot be written ({error.strerror or error})",
            where=path,
            remedy="Free disk space, or choose a folder that you may write to",
        ) from error


def atomic_write_bytes(path: Path, data: bytes) -> None:
    """Create or replace the file `path` with `data`.

    Raises:
        OSError: the file cannot be written; what stood there before still stands.
    """
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def atomic_write_text(path: Path, text: str) -> None:
    """Create or replace the file `path` with `text` in UTF-8.

    Raises:
        OSError: the file cannot be written; what stood there before still stands.
    """
    atomic_write_bytes(path, text.encode())


def append_line(path: Path, line: str) -> None:
    """Append one line to a file of lines; a last line that a kill tore gets its line break.

    Raises:
        OSError: the file cannot be written.
    """
    with path.open("ab+") as file:
        torn = False
        if file.seek(0, os.SEEK_END) > 0:
            file.seek(-1, os.SEEK_END)
            torn = file.read(1) != b"\n"
        file.write(("\n" * torn + line + "\n").encode())


def remove_temporaries(folder: Path, *, recursive: bool = True) -> None:
    """Remove what killed writers left unfinished in `folder`."""
    pattern = f"{TEMPORARY}*"
    for path in list(folder.rglob(pattern) if recursive else folder.glob(pattern)):
        if not path.is_dir():
            path.unlink(missing_ok=True)


def sync_file(path: Path) -> None:
    """Force the content of a file onto the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(path: Path) -> None:
    """Force the names in a folder onto the disk, where the file system can do so."""
    with suppress(OSError):  # some network file systems cannot sync a folder
        sync_file(path)
