"""Files that appear whole or not at all."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from histoweak.errors import OutputError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path` to write to; put it in place when the block ends well.

    Folders are made as needed. When the block raises, `path` stays as it was.

    Raises:
        OutputError: the folder or file cannot be written (no permission, full disk, ...).
    """
    temporary = path.with_name(f".{path.stem[:40]}.{secrets.token_hex(6)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(
            f"cannot be written ({error.strerror or error})",
            where=path,
            remedy="Free disk space, or choose a folder that you may write to",
        ) from error
