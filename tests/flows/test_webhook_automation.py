"""The automation of docs/automations.md, exactly as it stands there, with a Prefect server and a listener."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import psutil
import pytest
from local_listener import listening

from flows.events import announce

ROOT = Path(__file__).parents[2]
START_SECONDS, ACT_SECONDS = 200.0, 90.0


def documented_program() -> str:
    (program,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "automations.md").read_text(), re.DOTALL)
    return str(program)


def test_the_page_names_the_events_and_fields_that_are_sent() -> None:
    import inspect

    from flows import events

    page, source = (ROOT / "docs" / "automations.md").read_text(), inspect.getsource(events)
    for name in ("version", "manifest_sha256", "outcome", "reasons", "run_id", "actor"):
        assert f"`{name}`" in page
        assert f'"{name}"' in source
    for kind in ("published", "refused", "promoted", "rolled_back"):
        assert f".{kind}`" in page
        assert f'"{kind}"' in source


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment in which commands see a Prefect server of their own."""
    folder, port = tmp_path_factory.mktemp("prefect"), free_port()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment = {
        **kept,
        "PREFECT_HOME": str(folder),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }
    with (folder / "server.log").open("wb") as log:
        process = psutil.Popen(
            [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)],
            env={name: value for name, value in environment.items() if name != "PREFECT_API_URL"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        wait_until_healthy(process, environment["PREFECT_API_URL"], folder / "server.log")
        yield environment
    finally:
        family = [*process.children(recursive=True), process]
        for one in family:
            with suppress(psutil.Error):
                one.terminate()
        for one in psutil.wait_procs(family, timeout=20)[1]:
            one.kill()


def wait_until_healthy(process: psutil.Popen, url: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.is_running() and process.poll() is None:
        with suppress(OSError), urllib.request.urlopen(f"{url}/health", timeout=10) as answer:
            if answer.status == 200:
                return
        time.sleep(0.5)
    raise AssertionError(log.read_text()[-3000:])


@pytest.fixture
def listener() -> Iterator[tuple[str, Queue[tuple[str, str]]]]:
    """An address, and (content type, body) of whatever is posted to it."""
    called: Queue[tuple[str, str]] = Queue()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            called.put((self.headers["Content-Type"], body.decode()))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with listening(Handler) as address:
        yield f"{address}/hook?token=planted-secret", called


def told(called: Queue[tuple[str, str]], seconds: float = ACT_SECONDS) -> dict[str, Any]:
    try:
        kind, body = called.get(timeout=seconds)
    except Empty:
        raise AssertionError(f"nothing was posted within {seconds:g} s") from None
    assert kind == "application/json"
    found: dict[str, Any] = json.loads(body)
    return found


def set_up(server: dict[str, str], address: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", documented_program()],
        env={**server, "TEAM_WEBHOOK_URL": address},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_promotion_and_a_refusal_reach_the_webhook_and_a_publication_does_not(
    server: dict[str, str], listener: tuple[str, Queue[tuple[str, str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, called = listener
    set_up(server, address)
    set_up(server, address)  # Again, it replaces what was there.
    automations = filtered(server, "automations")
    assert [one["name"] for one in automations] == ["graft: tell the team of releases"]
    assert "planted-secret" not in json.dumps(automations)
    time.sleep(5.0)  # The server's triggers look for new automations every few seconds.
    monkeypatch.setenv("PREFECT_API_URL", server["PREFECT_API_URL"])
    reason = 'accuracy "0.91" is below 0.95\nsee reports/report.html'

    announce("published", "fern leaves", version=3, outcome="worse", reasons=["kept"], run_id="r1", actor="Ada")
    announce("refused", "fern leaves", outcome="worse", reasons=[reason, "second"], run_id="r2", actor="Ada")
    refused = told(called)
    announce("promoted", "fern leaves", version=4, outcome="better", reasons=["by hand"], run_id="r3", actor="Eva")
    promoted = told(called)

    assert refused == {
        "event": "graft.release.refused",
        "model": "fern leaves",
        "version": None,
        "outcome": "worse",
        "reasons": [reason, "second"],
        "run": "r2",
        "by": "Ada",
    }
    assert (promoted["event"], promoted["version"], promoted["by"]) == ("graft.release.promoted", 4, "Eva")
    with pytest.raises(Empty):
        called.get(timeout=3.0)


def filtered(server: dict[str, str], kind: str) -> list[dict[str, Any]]:
    request = urllib.request.Request(
        f"{server['PREFECT_API_URL']}/{kind}/filter", data=b"{}", headers={"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        found: list[dict[str, Any]] = json.loads(answer.read())
    return found
