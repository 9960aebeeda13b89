"""A server as people start it: a process of its own, asked over HTTP, ended by SIGTERM."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 60.0


@dataclass
class Server:
    """A running server; `log` is complete when it has ended."""

    process: subprocess.Popen[bytes]
    port: int
    log_file: Path
    code: int | None = None
    log: str = field(default="", repr=False)

    def ask(
        self, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes, Mapping[str, str]]:
        """Status, body and headers of an answer, whatever its status."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data=body, headers=dict(headers or {}))
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.read(), answer.headers
        except urllib.error.HTTPError as err:
            return err.code, err.read(), err.headers

    def predict(self, image: bytes, **headers: str) -> dict[str, Any]:
        """The answer of /predict, which must be one."""
        status, body, _ = self.ask("/predict", image, {"Content-Type": "image/jpeg", **headers})
        assert status == 200, (status, body)
        answer: dict[str, Any] = json.loads(body)
        return answer


def pins(file: Path) -> dict[str, str]:
    """Name to version of a lock."""
    lines = [line.partition(";")[0].strip() for line in file.read_text().splitlines()]
    return {canonicalize_name(name): version for name, _, version in (line.partition("==") for line in lines if line)}


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def bare_environment(**more: str) -> dict[str, str]:
    """This process's environment without anything that Python, Graft or Prefect would listen to."""
    dropped = ("GRAFT_", "PREFECT_", "DVC_", "PYTHON", "VIRTUAL_ENV")
    return {**{name: value for name, value in os.environ.items() if not name.startswith(dropped)}, **more}


@contextmanager
def serving(
    folder: Path,
    *arguments: str,
    command: tuple[str, ...] = (sys.executable, "-m", "deploy.server"),
    **environment: str,
) -> Iterator[Server]:
    """A server that is ready, started in `folder`; ended when the block is.

    Args:
        arguments: options of the server.
        command: what starts it; this environment's Python on the repository's sources, unless told otherwise.
    """
    port, log_file = free_port(), folder / "server.log"
    told = {"GRAFT_SERVE_PORT": str(port), "GRAFT_SERVE_WORKERS": "1", **environment}
    if command[0] == sys.executable:
        told["PYTHONPATH"] = str(REPOSITORY)
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            [*command, *arguments], cwd=folder, env=bare_environment(**told), stdout=log, stderr=log
        )
    server = Server(process, port, log_file)
    try:
        _await_ready(server)
        yield server
        process.send_signal(signal.SIGTERM)
        server.code = process.wait(PATIENCE_SECONDS)
    finally:
        process.kill()
        process.wait()
        server.log = log_file.read_text(encoding="utf-8", errors="replace")


def _await_ready(server: Server) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end:
        assert server.process.poll() is None, server.log_file.read_text(encoding="utf-8")
        try:
            if server.ask("/v2/health/ready")[0] == 200:
                return
        except OSError:
            pass
        time.sleep(0.05)
    raise AssertionError(f"no server after {PATIENCE_SECONDS} s: {server.log_file.read_text(encoding='utf-8')}")
