"""Turns what libraries, DVC and dying processes print as plain text into log lines, a traceback into one of them.

    python -I -S flows/raw_lines.py ACKNOWLEDGE_DESCRIPTOR

As a program it stands between a run that logs JSON and its stderr: objects pass as they are, everything else is
wrapped, with the run and the version of the last object that passed. It ends with the last process that writes, so that
the last words of a crash are not lost. Standard library only and started without site-packages: it costs a few
hundredths of a second.
"""

from __future__ import annotations

import json
import os
import select
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

FLUSH = b"\0flush"
QUIET_SECONDS = 0.5
TRACEBACK = (
    "Traceback (most recent call last):",
    "  + Exception Group Traceback",
    "Exception ignored in",
    "Fatal Python",
)
CHAINED = ("During handling of the above", "The above exception was", *TRACEBACK)
LEVELS = {"DEBUG": "debug", "INFO": "info", "WARNING": "warning", "ERROR": "error", "CRITICAL": "critical"}


class RawLines:
    """Groups lines: tells (message, level, traceback or None)."""

    def __init__(self, tell: Callable[[str, str, str | None], None]) -> None:
        self._tell = tell
        self._trace: list[str] = []
        self._ended = False

    def feed(self, line: str) -> None:
        if self._trace and (line.startswith((" ", "\t", *CHAINED)) or not line.strip() or not self._ended):
            self._ended = not line.startswith((" ", "\t", *CHAINED)) and bool(line.strip())
            self._trace.append(line)
        elif line.startswith(TRACEBACK):
            self.flush()
            self._trace, self._ended = [line], False
        elif line.strip():
            self.flush()
            self._tell(line.rstrip(), level_of(line), None)

    def flush(self) -> None:
        """Tell a traceback that was being gathered; its last line is the message."""
        trace, self._trace = self._trace, []
        if trace:
            last = next(line for line in reversed(trace) if line.strip())
            self._tell(last.strip(), "error", "\n".join(trace).rstrip())


def level_of(text: str) -> str:
    """What a line says of itself (`ERROR: ...`, `2026-01-01 WARNING ...`); info where it says nothing."""
    words = text.split(maxsplit=4)[:4]
    return next((LEVELS[word.rstrip(":")] for word in words if word.rstrip(":") in LEVELS), "info")


class Filter:
    """From raw bytes to JSON lines."""

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._write = write
        self._rest = b""
        self._known: dict[str, Any] = {"run": None, "version": ""}
        self._raw = RawLines(self._wrap)

    def feed(self, data: bytes) -> bool:
        """Take bytes; True if they asked for an acknowledgement."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._line(line)
        return FLUSH in lines

    def quiet(self) -> None:
        """Nothing came for a while: what is gathered is all."""
        self._raw.flush()

    def close(self) -> None:
        self._line(self._rest)
        self._raw.flush()

    def _line(self, line: bytes) -> None:
        if line == FLUSH:
            self._raw.flush()
            return
        if line.startswith(b'{"time":'):
            with suppress(ValueError):
                fields = json.loads(line)
                self._known = {"run": fields.get("run"), "version": fields.get("version")}
                self._raw.flush()
                self._write(line + b"\n")
                return
        self._raw.feed(line.decode("utf-8", "replace").rpartition("\r")[2])

    def _wrap(self, message: str, level: str, trace: str | None) -> None:
        time = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        fields = {"time": time, "level": level, "run": self._known["run"], "stage": None}
        fields |= {"version": self._known["version"], "message": message} | ({"exception": trace} if trace else {})
        self._write(json.dumps(fields).encode() + b"\n")


def main(arguments: list[str]) -> int:
    acknowledge = int(arguments[0])
    lines = Filter(lambda data: _write_all(2, data))
    with suppress(OSError):
        while True:
            ready, _, _ = select.select([0], [], [], QUIET_SECONDS)
            if not ready:
                lines.quiet()
                continue
            data = os.read(0, 1 << 16)
            if not data:
                break
            if lines.feed(data):
                os.write(acknowledge, b"k")
        lines.close()
    return 0


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
