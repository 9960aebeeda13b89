"""How many threads a stage may use, and how its libraries are told."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "NUMEXPR_MAX_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
"""What OpenMP (torch, Arrow) and the BLAS libraries read when they are loaded."""


def usable_cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def worker_threads(limit: int) -> int:
    """Threads of a pool under a limit; 0 takes every core."""
    return limit or usable_cores()


def thread_environment(limit: int) -> dict[str, str]:
    """The environment of a process that shall keep to `limit` threads; 0 sets nothing."""
    return {name: str(limit) for name in THREAD_VARIABLES} if limit else {}


def limit_threads(limit: int) -> None:
    """Keep this process to `limit` threads (0: as it is): libraries that are loaded already and those still to come."""
    if not limit:
        return
    from threadpoolctl import threadpool_limits

    os.environ.update(thread_environment(limit))
    threadpool_limits(limits=limit)


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Sums in one order: with several threads the last bit of a matrix product depends on how many there are.

    A library that is imported within it keeps its threads: scipy brings a BLAS of its own.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1, user_api="blas"):
        yield
