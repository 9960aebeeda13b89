"""The next batch is prepared while the present one is learned from."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

T = TypeVar("T")

BATCHES_AHEAD = 2


def prepared(work: Iterable[Callable[[], T]]) -> Iterator[T]:
    """What each piece of work gives, in order; one thread does the next pieces meanwhile.

    Raises:
        Exception: whatever a piece of work raised, when its turn comes.
    """
    pieces = iter(work)
    with ThreadPoolExecutor(1, thread_name_prefix="batches") as pool:
        waiting: deque[Future[T]] = deque(pool.submit(piece) for piece in islice(pieces, BATCHES_AHEAD))
        try:
            while waiting:
                result = waiting.popleft().result()
                waiting.extend(pool.submit(piece) for piece in islice(pieces, 1))
                yield result
        finally:
            for future in waiting:
                future.cancel()
