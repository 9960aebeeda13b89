"""Noticing that somebody cancelled a run in Prefect while its process works at a desk, where no worker watches."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import copy_context
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import StateType

POLL_SECONDS = 3.0
CANCELLED = frozenset({StateType.CANCELLING, StateType.CANCELLED})


@contextmanager
def cancellation_of(flow_run_id: UUID) -> Iterator[threading.Event]:
    """An event that is set once the run is cancelled on the server."""
    cancelled, over = threading.Event(), threading.Event()
    # Prefect's settings live in the context: without it the thread would start a server of its own.
    watch = copy_context().run
    watcher = threading.Thread(target=watch, args=(_watch, flow_run_id, cancelled, over), daemon=True)
    watcher.start()
    try:
        yield cancelled
    finally:
        over.set()
        watcher.join(timeout=2 * POLL_SECONDS)


def _watch(flow_run_id: UUID, cancelled: threading.Event, over: threading.Event) -> None:
    with get_client(sync_client=True) as client:
        while not over.wait(POLL_SECONDS):
            try:
                state = client.read_flow_run(flow_run_id).state
            except Exception:
                continue
            if state is not None and state.type in CANCELLED:
                cancelled.set()
                return
