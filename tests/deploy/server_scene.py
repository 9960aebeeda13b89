"""Servers as processes of their own: started, asked over real sockets, and ended whatever happens."""

from __future__ import annotations

import http.client
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

PATIENCE = 60.0
"""Seconds until a test gives up on what must come; no test asserts how fast it came."""


def png(seed: int = 0) -> bytes:
    """A photo that every release may be asked."""
    pixels = np.random.default_rng(seed).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@dataclass
class ServerProcess:
    """A running server.

    Attributes:
        lines: what it wrote on stderr so far, parsed.
    """

    process: subprocess.Popen[bytes]
    lines: list[dict[str, Any]] = field(default_factory=list)

    @property
    def started(self) -> dict[str, Any] | None:
        return next((line for line in list(self.lines) if "address" in line), None)

    @property
    def port(self) -> int:
        assert self.started is not None, self.lines
        return int(self.started["address"].rpartition(":")[2])

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)

    def ask(self, method: str = "POST", path: str = "/predict", body: bytes | None = None) -> tuple[int, Any]:
        """One request on a connection of its own: status and parsed body."""
        connection = self.connect()
        connection.request(method, path, png() if method == "POST" and body is None else body)
        reply = connection.getresponse()
        content = reply.read()
        connection.close()
        kind = reply.headers.get_content_type()
        return reply.status, json.loads(content) if kind == "application/json" else content.decode()

    def children(self) -> list[int]:
        """Pids of its workers."""
        file = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in file.read_text().split()]

    def read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            try:
                self.lines.append(json.loads(line))
            except ValueError:
                self.lines.append({"text": line.decode()})

    def messages(self) -> str:
        return "\n".join(str(line.get("message", line.get("text"))) for line in list(self.lines))


def command(*options: object) -> list[str]:
    return [sys.executable, "-m", "deploy.server", *map(str, options)]


@contextmanager
def server(*options: object, ready: bool = True, environment: dict[str, str] | None = None) -> Iterator[ServerProcess]:
    """A server on a free port; at the end it is ended, and must have left no process."""
    wanted = list(options) if "--port" in options else [*options, "--port", "0"]
    process = subprocess.Popen(command(*wanted), stderr=subprocess.PIPE, env={**os.environ, **(environment or {})})
    running = ServerProcess(process)
    reader = threading.Thread(target=running.read, daemon=True)
    reader.start()
    workers: list[int] = []
    try:
        if ready:
            wait_until(lambda: running.started or process.poll() is not None)
            assert running.started, running.messages()
            workers = running.children()
        yield running
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(PATIENCE)
        finally:
            process.kill()
            for pid in workers:
                if lives(pid):
                    os.kill(pid, signal.SIGKILL)
        reader.join(PATIENCE)


def refused(*options: object, environment: dict[str, str] | None = None) -> str:
    """What a server says that does not start: one line, exit code 1."""
    done = subprocess.run(
        command(*options), capture_output=True, timeout=PATIENCE, check=False, env={**os.environ, **(environment or {})}
    )
    text = done.stderr.decode()
    assert done.returncode == 1, text
    assert "Traceback" not in text
    assert text.count("\n") == 1, text
    return text


def lives(pid: int) -> bool:
    """Whether a process runs; one that ended and was not asked for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition: Callable[[], object]) -> None:
    give_up = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < give_up, "what was waited for never came"
        time.sleep(0.01)
