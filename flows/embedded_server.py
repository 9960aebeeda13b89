"""Prefect's embedded server for one run at the desk, in a session of its own.

Prefect starts its temporary server as a plain child: Ctrl-C reaches both at once and the run then waits minutes for a
server that is gone, and SIGKILL of the run leaves the server behind. Under the supervisor neither happens.
"""

from __future__ import annotations

import atexit
import logging
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prefect.settings import PREFECT_API_URL, get_current_settings, temporary_settings

from tasks.errors import WorkspaceError
from tasks.stage import say

START_SECONDS = 120.0
GRACE_SECONDS = 5.0
STOP_SECONDS = 15.0
EPHEMERAL = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}


@contextmanager
def prefect_server() -> Iterator[None]:
    """The server that the settings name, or an embedded one, which ends with this process.

    It outlives the block, because Prefect sends its last events when the process exits, and waits for a server that
    is gone.

    Raises:
        WorkspaceError: the embedded server does not start.
    """
    if PREFECT_API_URL.value():
        yield
        return
    port = _free_port()
    address = f"http://127.0.0.1:{port}/api"
    say(f"Prefect: starting an embedded server on {address} (set PREFECT_API_URL to use yours)")
    server = _start(port)
    atexit.register(_stop, server)
    _wait_until_healthy(server, address)
    logging.getLogger("prefect.flow_runs").addFilter(_names_no_page)
    with temporary_settings({PREFECT_API_URL: address}):
        yield


def _names_no_page(record: logging.LogRecord) -> bool:
    """The embedded server has no pages, so a line that names one leads nowhere."""
    return not record.getMessage().startswith("View at ")


def _start(port: int) -> subprocess.Popen[bytes]:
    supervisor = str(Path(__file__).with_name("supervisor.py"))
    uvicorn = ["-m", "uvicorn", "--factory", "prefect.server.api.server:create_app", "--host", "127.0.0.1"]
    options = ["--port", str(port), "--log-level", "error", "--lifespan", "on"]
    settings = get_current_settings().to_environment_variables(exclude_unset=True)
    return subprocess.Popen(
        [sys.executable, "-I", "-S", supervisor, str(GRACE_SECONDS), sys.executable, "-P", *uvicorn, *options],
        env={**os.environ, **EPHEMERAL, **settings},
        stdin=subprocess.PIPE,
        stdout=sys.stderr,
        start_new_session=True,
    )


def _wait_until_healthy(server: subprocess.Popen[bytes], address: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=5) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise WorkspaceError(
        f"Prefect's embedded server did not start within {START_SECONDS:.0f} s (exit code {server.poll()}); "
        "look at the lines above and at PREFECT_HOME, or start one with `prefect server start` and set PREFECT_API_URL"
    )


def _stop(server: subprocess.Popen[bytes]) -> None:
    if server.stdin is not None:
        server.stdin.close()
    try:
        server.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
