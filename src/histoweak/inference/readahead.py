"""Read the next images while the network works on the present one."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

AHEAD = 2
"""Items that wait in memory; images can be large."""


def read_ahead(
    items: Iterable[Item], read: Callable[[Item], Result], ahead: int = AHEAD
) -> Iterator[tuple[Item, Future[Result]]]:
    """Yield every item with the future of `read(item)`, in order.

    One thread reads, at most `ahead` items before the one that was yielded last. What `read`
    raises comes out of the future's `result()`.
    """
    waiting: deque[tuple[Item, Future[Result]]] = deque()
    reader = ThreadPoolExecutor(1, thread_name_prefix="read-ahead")
    try:
        for item in items:
            waiting.append((item, reader.submit(read, item)))
            if len(waiting) > ahead:
                yield waiting.popleft()
        while waiting:
            yield waiting.popleft()
    finally:
        reader.shutdown(wait=True, cancel_futures=True)
