"""Noticing that somebody cancelled a run in Prefect while its process works at a desk, where no worker watches."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import StateType
from prefect.settings import PREFECT_API_URL

POLL_SECONDS = 3.0
CANCELLED = frozenset({StateType.CANCELLING, StateType.CANCELLED})


@contextmanager
def cancellation_of(flow_run_id: UUID) -> Iterator[threading.Event]:
    """An event that is set once the run is cancelled on the server; never with the embedded one, which has no UI."""
    cancelled, over = threading.Event(), threading.Event()
    watcher = threading.Thread(target=_watch, args=(flow_run_id, cancelled, over), daemon=True)
    if PREFECT_API_URL.value():
        watcher.start()
    try:
        yield cancelled
    finally:
        over.set()
        if watcher.ident is not None:
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
