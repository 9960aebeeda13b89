"""A real server process on a free port, and what its process holds."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

PATIENCE = 60.0
"""Seconds until a test gives up on a start or an end; no test asserts how fast it was."""

_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass
class RunningServer:
    """A process with one worker.

    Attributes:
        log: file with the lines that it wrote.
    """

    process: subprocess.Popen[bytes]
    log: Path
    host: str = ""
    port: int = 0

    @property
    def address(self) -> str:
        """host:port."""
        return f"{self.host}:{self.port}"

    def connect(self, timeout_seconds: float = PATIENCE) -> socket.socket:
        """A new connection."""
        return socket.create_connection((self.host, self.port), timeout_seconds)

    def alive(self) -> bool:
        """Whether it has not ended."""
        return self.process.poll() is None

    def resident_mb(self) -> float:
        """Resident memory, megabytes (10^6 bytes)."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text(encoding="ascii").split()[1]
        return int(pages) * _PAGE / 1e6

    def open_files(self) -> int:
        """Descriptors that it holds."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def threads(self) -> int:
        """Threads that it runs."""
        return len(list(Path(f"/proc/{self.process.pid}/task").iterdir()))

    def log_text(self) -> str:
        """What it wrote so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def await_address(self) -> None:
        """Wait until it says where it listens."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until and self.alive():
            for line in self.log_text().splitlines():
                fields = json.loads(line) if line.startswith("{") else {}
                if "address" in fields:
                    parts = urlsplit(fields["address"])
                    self.host, self.port = str(parts.hostname), int(parts.port or 0)
                    return
            time.sleep(0.02)
        raise AssertionError(f"the server did not begin to listen: {self.log_text()[-2000:]}")


def errors_in(log: str) -> list[str]:
    """Lines that tell of the server's own faults."""
    lines = [
        json.loads(line) if line.startswith("{") else {"level": "error", "message": line} for line in log.splitlines()
    ]
    return [str(line)[:1000] for line in lines if line["level"] in ("error", "critical") or "exception" in line]


@contextmanager
def running_server(*arguments: str, folder: Path) -> Iterator[RunningServer]:
    """Start `python -m deploy.server` with these arguments in `folder`, wait until it listens, and end it at last."""
    log = folder / "server.log"
    command = [sys.executable, "-m", "deploy.server", "--port", "0", "--workers", "1", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with log.open("wb") as sink:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=sink, stderr=sink)
    server = RunningServer(process, log)
    try:
        server.await_address()
        yield server
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
