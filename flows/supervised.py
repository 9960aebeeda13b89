"""One command below the supervisor: its lines as they come, its deadline, its end in every case."""

from __future__ import annotations

import os
import re
import selectors
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from flows.memory import MemoryWatch

GRACE_SECONDS = 5.0
SUPERVISOR_SECONDS = 15.0
"""What the supervisor may take beyond the grace until it is killed itself."""
POLL_SECONDS = 0.2
TAIL_LINES = 20
LONGEST_LINE = 1 << 16
PROGRESS_SECONDS = 0.5
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass(frozen=True)
class Ending:
    """How a command ended: exit code (128 + n after signal n, negative if the supervisor itself was killed)."""

    exit_code: int
    stopped: str | None
    tail: list[str]
    peak_bytes: int = 0


class LineReader:
    """Cuts a byte stream into lines; of a progress bar (carriage returns) only a state every half second is told."""

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._on_line = on_line
        self._rest = b""
        self._next_progress = 0.0

    def feed(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).replace(b"\r\n", b"\n").split(b"\n")
        for line in lines:
            self._tell(line.rpartition(b"\r")[2] or line)
        # The last byte waits: a carriage return there may be half of a line's end.
        shown, mark, _ = self._rest[:-1].rpartition(b"\r")
        if mark:
            self._rest = self._rest[len(shown) + 1 :]
            self._progress(shown.rpartition(b"\r")[2])
        if len(self._rest) > LONGEST_LINE:
            self.close()

    def close(self) -> None:
        """Tell what came without a line's end."""
        rest, self._rest = self._rest, b""
        self._tell(rest.rstrip(b"\r").rpartition(b"\r")[2])

    def _progress(self, state: bytes) -> None:
        if state.strip() and time.monotonic() >= self._next_progress:
            self._next_progress = time.monotonic() + PROGRESS_SECONDS
            self._tell(state)

    def _tell(self, line: bytes) -> None:
        text = _ESCAPES.sub("", line.decode("utf-8", "replace")).rstrip()
        if text:
            self.tail.append(text)
            self._on_line(text)


def run_supervised(
    command: Sequence[str],
    cwd: Path,
    environment: Mapping[str, str],
    timeout_seconds: float,
    on_line: Callable[[str], None],
    cancelled: threading.Event | None = None,
    grace_seconds: float = GRACE_SECONDS,
    memory: MemoryWatch | None = None,
) -> Ending:
    """Run `command` to its end, or end it and all its descendants.

    Args:
        memory: sampled while the command works; the command is ended once it is over its limit.
    Returns:
        `stopped` is None, "timeout", "cancelled" or "memory"; `tail` holds the last lines of stdout and stderr.
    Raises:
        BaseException: whatever is raised in the waiting thread (KeyboardInterrupt, a cancellation), or by `on_line`,
            after everything was ended.
    """
    process = _start(command, cwd, environment, grace_seconds)
    assert process.stdout is not None
    reader, watch = LineReader(on_line), memory or MemoryWatch()
    try:
        stopped = _follow(process, process.stdout, reader, time.monotonic() + timeout_seconds, cancelled, watch)
        if stopped:
            _close_lifeline(process)
            _follow(process, process.stdout, reader, time.monotonic() + grace_seconds + SUPERVISOR_SECONDS, None)
        reader.close()
    finally:
        _end(process, grace_seconds)
    return Ending(process.returncode, stopped, list(reader.tail), watch.peak_bytes)


def _start(
    command: Sequence[str], cwd: Path, environment: Mapping[str, str], grace_seconds: float
) -> subprocess.Popen[bytes]:
    supervisor = str(Path(__file__).with_name("supervisor.py"))
    return subprocess.Popen(
        [sys.executable, "-I", "-S", supervisor, str(grace_seconds), *command],
        cwd=cwd,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        bufsize=0,
    )


def _follow(
    process: subprocess.Popen[bytes],
    output: IO[bytes],
    reader: LineReader,
    deadline: float,
    cancelled: threading.Event | None,
    memory: MemoryWatch | None = None,
) -> str | None:
    """Hand on lines until the supervisor ends; the reason why it was not waited for, if there is one."""
    os.set_blocking(output.fileno(), False)
    with selectors.DefaultSelector() as selector:
        selector.register(output, selectors.EVENT_READ)
        while process.poll() is None:
            if time.monotonic() > deadline:
                return "timeout"
            if cancelled is not None and cancelled.is_set():
                return "cancelled"
            if memory is not None and memory.is_over(process.pid):
                return "memory"
            # Short waits: Prefect raises into this thread between two bytecodes, never inside a system call.
            if not selector.get_map():
                with suppress(subprocess.TimeoutExpired):
                    process.wait(POLL_SECONDS)
            elif selector.select(POLL_SECONDS) and _hand_on(output, reader) == b"":
                selector.unregister(output)
    while _hand_on(output, reader):
        pass
    return None


def _hand_on(output: IO[bytes], reader: LineReader) -> bytes | None:
    """Read what is there and hand it on: empty at the end of the stream, None when nothing is there now."""
    data = output.read(LONGEST_LINE)
    if data:
        reader.feed(data)
    return data


def _close_lifeline(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        process.stdin.close()


def _end(process: subprocess.Popen[bytes], grace_seconds: float) -> None:
    """Have the supervisor end everything; even if this wait is interrupted, the closed pipe makes it do so."""
    _close_lifeline(process)
    try:
        process.wait(grace_seconds + SUPERVISOR_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    finally:
        if process.stdout is not None:
            process.stdout.close()
