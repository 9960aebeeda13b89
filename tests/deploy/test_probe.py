"""The container's own question: is the server on this machine ready."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from serving_scene import REPOSITORY, bare_environment, free_port

from deploy.probe import fault_of, main


class Answering(BaseHTTPRequestHandler):
    """Live, and not ready."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/v2/health/live" else 503)
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    server = HTTPServer(("127.0.0.1", 0), Answering)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_server_that_is_live_and_not_ready_is_told_apart(port: int) -> None:
    assert fault_of(port, "live") is None
    assert fault_of(port, "ready") == f"the server on port {port} is not ready (status 503)"


def test_where_nobody_listens_it_says_so() -> None:
    port = free_port()
    assert str(fault_of(port, "live")).startswith(f"no server answers on port {port}: ")


def test_the_exit_code_is_the_answer(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFT_SERVE_PORT", str(port))
    with pytest.raises(SystemExit) as ended:
        main(["--live"])
    assert not ended.value.code
    with pytest.raises(SystemExit) as ended:
        main([])
    assert "is not ready" in str(ended.value.code)


def test_it_loads_nothing_of_the_server() -> None:
    telling = "import sys, deploy.probe; print(sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run(
        [sys.executable, "-c", telling],
        env=bare_environment(PYTHONPATH=str(REPOSITORY)),
        capture_output=True,
        text=True,
        check=True,
    )
    assert not {"fastapi", "numpy", "pydantic", "uvicorn", "tasks"} & set(listed(done.stdout))


def listed(text: str) -> list[str]:
    """The names of a printed list."""
    return [name.strip(" '\n") for name in text.strip("[]\n").split(",")]
