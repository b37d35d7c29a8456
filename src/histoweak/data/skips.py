"""Damaged files: skipped with a reason and counted, and too many stop the run."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from histoweak.data.table import write_table
from histoweak.errors import ImageError

DEFAULT_LIMIT = 0.05
"""Share of a data set's images that may be skipped."""

Item = TypeVar("Item")


class Skips:
    """Counts the images that could not be used, with the reason of each.

    One image may always fail; more than `limit` of all stop the run, and so does the last one
    left, because figures from what remained would stand for another data set.

    Args:
        total: number of images that are tried.
        limit: share of them, 0 to 1, that may be skipped.
        log: CSV file (columns image, reason) to leave behind when the run stops.
    """

    def __init__(self, total: int, limit: float = DEFAULT_LIMIT, log: Path | None = None) -> None:
        self.total, self.limit, self.log = total, limit, log
        self.reasons: list[tuple[Path, str]] = []

    def __len__(self) -> int:
        return len(self.reasons)

    def add(self, path: Path, reason: str) -> None:
        """Count one skipped image.

        Raises:
            ImageError: it is one too many.
        """
        self.reasons.append((path, reason))
        allowed = max(1, int(self.limit * self.total))
        if len(self) <= allowed and len(self) < self.total:
            return
        listed = ""
        if self.log is not None:
            self.write(self.log)
            listed = f"; all are listed in {self.log}"
        first = self.reasons[0]
        raise ImageError(
            f"{len(self)} of {self.total} images cannot be used, the first: {first[1]}{listed}",
            where=first[0],
            expected=f"at most {allowed}, and one that can",
            remedy="Repair or remove the damaged files",
        )

    @contextmanager
    def catch(self, path: Path) -> Iterator[None]:
        """Turn an `ImageError` of the block into a counted skip of `path`.

        Raises:
            ImageError: it is one too many.
        """
        try:
            yield
        except ImageError as error:
            self.add(path, reason_of(error, path))

    def write(self, path: Path) -> None:
        """Write the reasons as CSV; when there are none, take away the file of an earlier run.

        Raises:
            OutputError: the file cannot be written.
        """
        if self.reasons:
            columns = {
                "image": [str(image) for image, _ in self.reasons],
                "reason": [reason for _, reason in self.reasons],
            }
            write_table(path, columns)
        else:
            path.unlink(missing_ok=True)


def reason_of(error: ImageError, path: Path) -> str:
    """What is wrong with `path`, in a few words; another file at fault is named."""
    reason = f"{error.problem} (expected {error.expected})" if error.expected else error.problem
    if error.where is not None and str(error.where) != str(path):
        return f"{error.where}: {reason}"
    return reason


def readable(
    items: Iterable[Item],
    read: Callable[[Item], object],
    skips: Skips,
    path: Callable[[Item], Path],
) -> tuple[Item, ...]:
    """Keep the items that `read` can read; the others are counted in `skips`.

    Args:
        items: for example manifest records.
        read: reads what the item names, raising `ImageError` where it cannot.
        skips: receives the others.
        path: the file that stands for an item in the list of skips.

    Raises:
        ImageError: too many cannot be read.
    """
    kept: list[Item] = []
    for item in items:
        with skips.catch(path(item)):
            read(item)
            kept.append(item)
    return tuple(kept)
