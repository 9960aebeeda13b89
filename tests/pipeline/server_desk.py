"""A desk with a Prefect server and a worker of its own, started as a user does, driven through its REST API."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import psutil
from desk import Desk, make_desk
from small_workspace import change_params

ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
IDENTITY = {"user.name": "Ada", "user.email": "ada@example.org"}
Found = TypeVar("Found")


def marked_processes(variable: str, value: str) -> list[psutil.Process]:
    """Whatever lives with this in its environment."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.environ().get(variable) == value:
                found.append(process)
    return found


@dataclass
class ServerDesk:
    """The server is at `url` between `start` and `stop`."""

    desk: Desk
    port: int = field(default_factory=lambda: free_port())

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def local_server(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "flows.local_server", *arguments],
            cwd=self.desk.root,
            env=self.desk.environment(PREFECT_WORKER_QUERY_SECONDS="1", **environment),
            capture_output=True,
            text=True,
            timeout=400,
        )

    def start(self, **environment: str) -> str:
        done = self.local_server("start", "--port", str(self.port), **environment)
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    def stop(self) -> str:
        done = self.local_server("stop")
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    def ask(self, method: str, path: str, content: Any = None) -> tuple[int, Any]:
        """Status and answer; SQLite's server answers 503 when its disk is busy, and callers ask again."""
        for _ in range(20):
            status, answer = self._ask(method, path, content)
            if status != 503:
                break
            time.sleep(1.0)
        return status, answer

    def _ask(self, method: str, path: str, content: Any) -> tuple[int, Any]:
        data = None if content is None else json.dumps(content).encode()
        headers = {"content-type": "application/json"}
        request = urllib.request.Request(f"{self.url}/api{path}", data=data, headers=headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return int(answer.status), json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as err:
            return err.code, json.loads(err.read() or b"null")

    def deployment(self, name: str) -> dict[str, Any]:
        status, found = self.ask("GET", f"/deployments/name/{name}")
        assert status == 200, found
        return dict(found)

    def begin(self, name: str, **parameters: Any) -> tuple[int, dict[str, Any]]:
        """Status and flow run, as the page's Submit gets them."""
        deployment = self.deployment(name)["id"]
        return self.ask("POST", f"/deployments/{deployment}/create_flow_run", {"parameters": parameters})

    def flow_run(self, run: str) -> dict[str, Any]:
        status, found = self.ask("GET", f"/flow_runs/{run}")
        assert status == 200, found
        return dict(found)

    def ended(self, run: str, seconds: float = 400.0) -> dict[str, Any]:
        """The final state of a flow run."""

        def look() -> dict[str, Any] | None:
            state = self.flow_run(run)["state"]
            return dict(state) if state["type"] in ENDED else None

        return waited(look, seconds, lambda: f"{self.flow_run(run)['state']}\n{self.log('worker')}")

    def flow_runs(self, **filters: Any) -> list[dict[str, Any]]:
        status, found = self.ask("POST", "/flow_runs/filter", {"sort": "EXPECTED_START_TIME_ASC", **filters})
        assert status == 200, found
        return list(found)

    def artifacts(self, run: str) -> dict[str, Any]:
        """By key."""
        wanted = {"artifacts": {"flow_run_id": {"any_": [run]}}}
        return {found["key"]: found for found in self.ask("POST", "/artifacts/filter", wanted)[1]}

    def log_lines(self, run: str) -> list[str]:
        wanted = {"logs": {"flow_run_id": {"any_": [run]}}, "sort": "TIMESTAMP_ASC", "limit": 200}
        return [line["message"] for line in self.ask("POST", "/logs/filter", wanted)[1]]

    def log(self, part: str) -> str:
        """The last lines of the server's or the worker's log."""
        text = (self.desk.root / ".graft" / "server" / f"{part}.log").read_text("utf-8", "replace")
        return "\n".join(text.splitlines()[-40:])

    def processes(self) -> list[psutil.Process]:
        """Whatever lives that this server has started, however far down."""
        return marked_processes("GRAFT_SERVER", str(self.desk.root))

    def git(self, *arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=self.desk.root, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def commit_on_a_branch(self, branch: str, settings: dict[str, Any]) -> None:
        """params.yaml with other settings, committed; the checkout goes back to where it was."""
        self.git("checkout", "--quiet", "-b", branch)
        change_params(self.desk.workspace, settings)
        self.git("commit", "--quiet", "--all", "--message", "Other settings")
        self.git("checkout", "--quiet", "master")


def make_server_desk(folder: Path, graphs_of: Desk | None = None, **settings: Any) -> ServerDesk:
    """A clone with one commit, whose pictures lie outside of it and are read in place."""
    desk = make_desk(folder, graphs_of)
    shutil.move(desk.root / "data" / "raw", folder / "pictures")
    change_params(desk.workspace, {"data": {"path": str(folder / "pictures")}, **settings})
    made = ServerDesk(desk)
    for key, value in IDENTITY.items():
        made.git("config", key, value)
    made.git("add", "--all")
    made.git("commit", "--quiet", "--message", "Start")
    return made


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def waited(look: Callable[[], Found | None], seconds: float, tell: Callable[[], str] = lambda: "") -> Found:
    """What `look` finds, as soon as it finds something."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = look()
        if found is not None:
            return found
        time.sleep(0.5)
    raise AssertionError(f"nothing found within {seconds:.0f} s; {tell()}")
