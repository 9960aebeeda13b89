"""What a server is told of releases, and that nothing depends on it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any

import prefect
import pytest
from local_listener import listening

from flows import events
from flows.events import announce, resource_id


@contextmanager
def server(status: int = 204) -> Iterator[tuple[str, list[tuple[str, Any]]]]:
    """(address, what was posted) of a server that answers what is posted with `status`."""
    posted: list[tuple[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.path.endswith("/version")  # of no CSRF tokens
            self._answer(200 if known else 404, json.dumps(prefect.__version__).encode())

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            posted.append((self.path, json.loads(body)))
            self._answer(status, b"")

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with listening(Handler) as address:
        yield f"{address}/api", posted


def tell() -> None:
    announce("promoted", "small", version=4, manifest_sha256="4" * 64, reasons=["better"], actor="Ada", number=7)


def test_a_command_tells_the_server_that_it_is_pointed_to(monkeypatch: pytest.MonkeyPatch) -> None:
    with server() as (address, posted):
        monkeypatch.setenv("PREFECT_API_URL", address)
        tell()
    ((path, (event,)),) = posted
    assert path == "/api/events"
    assert event["event"] == "graft.release.promoted"
    assert event["resource"]["prefect.resource.id"] == "graft.model.small"
    found = {name: event["payload"][name] for name in ("version", "reasons", "actor", "number")}
    assert found == {"version": 4, "reasons": ["better"], "actor": "Ada", "number": 7}


def test_without_a_server_a_command_neither_tells_nor_loads_prefect() -> None:
    program = (
        "import sys; from flows.events import announce; announce('promoted', 'small'); print('prefect' in sys.modules)"
    )
    environment = {"PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True)
    assert (done.stdout, done.stderr) == ("False\n", "")


@pytest.mark.parametrize("status", [401, 503])
def test_a_server_that_refuses_is_a_warning(
    status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with server(status) as (address, posted):
        monkeypatch.setenv("PREFECT_API_URL", address)
        tell()
    assert len(posted) == 1
    assert "the event graft.release.promoted could not be sent" in capsys.readouterr().err


def test_a_server_that_is_gone_is_a_warning_without_its_address(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://user:secret-word@127.0.0.1:9/api")
    tell()
    said = capsys.readouterr().err
    assert "could not be sent" in said
    assert "secret-word" not in said


def test_inside_a_flow_prefect_sends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr(events, "in_a_flow", lambda: True)
    monkeypatch.setattr(
        "prefect.events.emit_event", lambda event, resource, **rest: sent.append({"event": event, **rest})
    )
    announce("refused", "small", reasons=[f"reason {number}" for number in range(50)], run_id="run 1", stage="gate")
    (event,) = sent
    assert event["event"] == "graft.release.refused"
    assert event["related"] == [{"prefect.resource.id": "graft.run.run 1", "prefect.resource.role": "run"}]
    assert event["payload"]["stage"] == "gate"
    assert len(event["payload"]["reasons"]) == events.MOST_REASONS


def test_a_models_name_is_its_resource_whatever_it_holds() -> None:
    assert resource_id("Leaf  classifier 2") == "graft.model.Leaf-classifier-2"
