"""A sampled share of the answered requests, kept as Parquet by a thread of its own; off unless it is asked for."""

from __future__ import annotations

import importlib
import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal

from deploy.capture_rotation import Rotation
from deploy.capture_rows import Captured, Release
from deploy.engine import Answer
from deploy.metrics import Metrics
from tasks.errors import ParamsError
from tasks.params import ServeParams

LOG = logging.getLogger("graft.capture")
LOG_SECONDS = 60.0
LOST = "captures are lost, answering goes on"
PAUSE_SECONDS = 5.0
"""After a failed write rows are counted as failed for so long, before the disk is tried again."""


def open_capture(serve: ServeParams, metrics: Metrics) -> ParquetCapture | None:
    """What a worker offers its answers to; None where serve.capture.share is 0.

    Raises:
        ParamsError: pyarrow is not installed.
    """
    if serve.capture.share == 0:
        return None
    try:
        importlib.import_module("pyarrow.parquet")
    except ImportError as err:
        raise ParamsError(
            f"serve.capture.share is {serve.capture.share:g}, but pyarrow, which writes captures, cannot be imported "
            f"({err}); install graft with its `capture` extra (pip install 'graft[serve,capture]') or set it to 0"
        ) from err
    return ParquetCapture(serve, metrics)


class ParquetCapture:
    """Keeps a share of the requests; `offer` never waits for the disk and never raises."""

    def __init__(
        self,
        serve: ServeParams,
        metrics: Metrics,
        seed: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing is written, and no thread runs, before `start`.

        Args:
            seed: of the sample; None is random.
            clock: seconds that never go back.
        """
        self._clock = clock
        self._share, self._content = serve.capture.share, serve.capture.content
        self._most_rows, self._most_bytes = serve.capture.queue, serve.capture.queue_mb * 1e6
        self._metrics = metrics
        self._rotation = Rotation(serve.capture, serve.abstain_below)
        self._random = random.Random(seed)
        self._queue: deque[Captured] = deque()
        self._bytes = 0
        self._release: Release | None = None
        self._closing = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._write, name="capture", daemon=True)
        self._paused_until = 0.0
        self._logged: float | None = None

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def offer(self, request_id: str, data: bytes | None, answer: Answer) -> None:
        """One answered image; `data` are its encoded bytes, None where prepared pixels were sent."""
        try:
            if self._random.random() >= self._share:
                return
            embedding = None if self._content == "scores" else answer.embedding
            release = self._release_of(answer)
            row = Captured(datetime.now(UTC), request_id, release, data, answer.probabilities, embedding)
            if not self._put(row):
                self._metrics.captured("dropped")
        except Exception as err:
            self._count("failed", 1)
            self._log(LOST, err)

    def close(self, seconds: float = 10.0) -> None:
        """Write what is left, for at most so long; later offers are dropped."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread.ident is not None:
            self._thread.join(seconds)
            if self._thread.is_alive():
                LOG.warning("captures were not written within %g s; what was left is lost", seconds)

    def _release_of(self, answer: Answer) -> Release:
        """The same object for the same release: a thousand labels are not copied for each row."""
        last, model = self._release, answer.model
        if last is None or (last.name, last.version, last.digest) != (model.name, model.version, model.digest):
            last = self._release = Release(model.name, model.version, model.digest, tuple(model.labels))
        return last

    def _put(self, row: Captured) -> bool:
        with self._changed:
            full = len(self._queue) >= self._most_rows or self._bytes + row.size > self._most_bytes
            if full or self._closing:
                return False
            self._queue.append(row)
            self._bytes += row.size
            self._changed.notify()
        return True

    def _write(self) -> None:
        """In the thread: take rows and make files of them until the end; no error ends it."""
        closed = False
        try:
            self._rotation.begin()
        except OSError as err:
            self._log(LOST, err)
        while not closed:
            try:
                self._rotation.rotate(self._clock())
                row, closed = self._next(self._rotation.due(self._clock()))
                if row:
                    self._add(row)
                if closed:
                    self._rotation.finish()
            except Exception as err:
                self._count("failed", self._rotation.lose())
                self._paused_until = self._clock() + PAUSE_SECONDS
                self._log(LOST, err)
            self._count("kept", self._rotation.taken())
            try:
                self._rotation.tidy(self._clock())
            except OSError as err:
                self._log("old captures cannot be deleted", err)

    def _add(self, row: Captured) -> None:
        if self._clock() < self._paused_until:
            self._count("failed", 1)
        else:
            self._rotation.add(row, self._clock())

    def _next(self, seconds: float) -> tuple[Captured | None, bool]:
        """The oldest row, None after so many seconds without one; and whether all is written when it is."""
        with self._changed:
            if not self._queue and not self._closing:
                self._changed.wait(seconds)
            row = self._queue.popleft() if self._queue else None
            if row:
                self._bytes -= row.size
            return row, self._closing and not self._queue

    def _count(self, outcome: Literal["kept", "failed"], rows: int) -> None:
        for _ in range(rows):
            self._metrics.captured(outcome)

    def _log(self, what: str, err: Exception) -> None:
        """One line a minute."""
        now = self._clock()
        if self._logged is None or now >= self._logged + LOG_SECONDS:
            self._logged = now
            LOG.warning("%s: %s: %s", what, type(err).__name__, err)
