"""Writing a log from a thread of its own, so that nobody who reads it slowly, or not at all, stops a server."""

from __future__ import annotations

import logging
import threading
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TextIO

MOST_LINES = 10_000
FLUSH_SECONDS = 2.0
PAUSE_SECONDS = 0.02
"""Lines of so long are written at once: a thread that wakes for each would take the interpreter's lock each time."""


class WriterHandler(logging.Handler):
    """Formats where a line is logged and writes elsewhere; lines beyond 10,000 that wait are dropped and counted."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        self._waiting: SimpleQueue[str | threading.Event | None] = SimpleQueue()
        self._dropped = 0
        self._urgent = threading.Event()
        self._thread = threading.Thread(target=self._write, name="log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Never waits and never raises."""
        if self._waiting.qsize() >= MOST_LINES:
            self._dropped += 1
            return
        try:
            if dropped := self._dropped:
                self._dropped = 0
                self._waiting.put(self._line_of_dropped(dropped))
            self._waiting.put(self.format(record))
            if record.levelno >= logging.ERROR:
                self._urgent.set()
        except Exception:
            self.handleError(record)

    def flush(self) -> None:
        """Wait until what was logged is written, for at most two seconds."""
        written = threading.Event()
        self._waiting.put(written)
        self._urgent.set()
        written.wait(FLUSH_SECONDS)

    def close(self) -> None:
        """Write what waits, and end."""
        self._waiting.put(None)
        self._urgent.set()
        self._thread.join(FLUSH_SECONDS)
        super().close()

    def _line_of_dropped(self, count: int) -> str:
        record = logging.LogRecord(
            "graft.log",
            logging.WARNING,
            "",
            0,
            f"{count} lines dropped: they came faster than they were read",
            (),
            None,
        )
        return self.format(record)

    def _write(self) -> None:
        """In the thread."""
        while True:
            taken = [self._waiting.get()]
            self._urgent.wait(PAUSE_SECONDS)
            self._urgent.clear()
            with suppress(Empty):
                while True:
                    taken.append(self._waiting.get_nowait())
            with suppress(OSError, ValueError):  # the reader is gone, or the stream is closed
                self._stream.write("".join(f"{one}\n" for one in taken if isinstance(one, str)))
                self._stream.flush()
            for one in taken:
                if isinstance(one, threading.Event):
                    one.set()
            if None in taken:
                return
