"""One pass over all images, in several processes."""

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext
from functools import partial
from multiprocessing.synchronize import Lock
from pathlib import Path

from histoweak.data.check.measure import Facts, measure
from histoweak.data.images import probe
from histoweak.data.manifest import Record
from histoweak.errors import ImageError
from histoweak.progress import Progress
from histoweak.refine.white import WhiteConfig

LARGE = 25_000_000
"""Pixels from which on images are decoded one at a time, so that they do not fill the memory."""

_CHUNK = 8
_large: Lock | None = None


def scan(
    records: tuple[Record, ...], n_classes: int, rule: WhiteConfig, workers: int, progress: Progress
) -> tuple[Facts, ...]:
    """Measure every image; damaged ones come back with the reason.

    Args:
        records: the images and masks.
        n_classes: K.
        rule: which pixels are white background.
        workers: processes; with 1 the work is done in this one. With more, a script must call
            this under `if __name__ == "__main__"`.
        progress: shows how far it is.

    Raises:
        ImageError: a process died, for want of memory or by a fault in a decoder.
    """
    files = [(record.image, record.mask) for record in records]
    work = partial(_measure_one, n_classes, rule)
    facts: list[Facts] = []
    for one in progress.track(_each(work, files, workers), len(files), "checking images"):
        facts.append(one)
    return tuple(facts)


def _each(
    work: "partial[Facts]", files: list[tuple[Path, Path | None]], workers: int
) -> Iterator[Facts]:
    if workers <= 1 or len(files) <= _CHUNK:
        yield from map(work, files)
        return
    # Not fork: the parent may hold threads of its own, whose locks a child would inherit shut.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        workers, context, initializer=_share, initargs=(context.Lock(),)
    ) as pool:
        try:
            yield from pool.map(work, files, chunksize=_CHUNK)
        except BrokenProcessPool as error:
            raise ImageError(
                "a process that read images died, perhaps for want of memory",
                where="histoweak data check",
                remedy="Try again with --workers 1",
            ) from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _share(lock: Lock) -> None:
    """Give a process the lock that all share."""
    global _large
    _large = lock


def _measure_one(n_classes: int, rule: WhiteConfig, files: tuple[Path, Path | None]) -> Facts:
    image, mask = files
    with _large if _large is not None and _is_large(image) else nullcontext():
        return measure(image, mask, n_classes, rule)


def _is_large(path: Path) -> bool:
    try:
        height, width = probe(path).size
    except ImageError:
        return False
    return height * width > LARGE
