"""A Prefect server and one worker of this machine's own, for trying deployments or for one person's work.

    python -m flows.local_server start [--port 4200]
    python -m flows.local_server stop

Both live on in sessions of their own. What is below .graft/server: Prefect's home with the database, two logs, and the
note that says which processes they are. Every process that they start carries their mark in its environment, so that
stop ends all of them, also after a crash of either.
"""

from __future__ import annotations

import argparse
import errno
import fcntl
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from pydantic import ValidationError

from flows.deployments import HEARTBEAT_SECONDS, POOL
from flows.desk import QUIET_PREFECT
from flows.processes import end_marked_processes, start_mark
from tasks.errors import GraftError, WorkspaceError
from tasks.reports import Record, write_bytes
from tasks.stage import say
from tasks.workspace import Workspace

PORT = 4200
HOST = "127.0.0.1"
START_SECONDS = 180.0
GRACE_SECONDS = 15.0
"""A run that is ended has this long to tell the server so."""
MARK, PART = "GRAFT_SERVER", "GRAFT_SERVER_PART"
SERVER, WORKER = "server", "worker"
ELSEWHERE = ("PREFECT_API_URL", "PREFECT_API_KEY", "PREFECT_PROFILE", "PREFECT_HOME", "PREFECT_PROFILES_PATH")
NOT_OURS = ("AUTH_STRING", "DATABASE", "_SERVER_API_", "PREFECT_UI_")


class ServerNote(Record):
    """.graft/server/server.json: the two processes by pid and start mark, as `flows.processes.start_mark` tells it."""

    url: str
    server_pid: int
    server_start: str
    worker_pid: int | None = None
    worker_start: str | None = None

    def living(self) -> list[str]:
        """Which of the two live."""
        parts = ((SERVER, self.server_pid, self.server_start), (WORKER, self.worker_pid, self.worker_start))
        return [part for part, pid, start in parts if pid is not None and start_mark(pid) == start]


class LocalServer:
    """The server of one workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.folder = workspace.private / "server"
        self.note_file = self.folder / "server.json"

    def start(self, port: int) -> str:
        """Start what does not run, and apply the deployments; returns what to tell the user.

        Raises:
            WorkspaceError: the port is taken, PREFECT_API_URL names another server, or something does not start; what
                had been started is ended then.
        """
        with self._alone():
            note = self.note()
            living = note.living() if note else []
            if note and len(living) == 2:
                return f"a server and its worker run already\n{_where(note.url)}"
            _refuse_other_server(note)
            if living:
                say(
                    f"only the {living[0]} of an earlier start lives: it is ended, and both are started anew", "warning"
                )
            self._end_everything()
            _check_port(port)
            try:
                return self._started(port)
            except BaseException:
                self._end_everything()
                raise

    def stop(self) -> str:
        """End worker, runs and server, with all that they started; returns what to tell the user."""
        with self._alone():
            ended = self._end_everything()
            return f"ended ({len(ended)} processes)" if ended else "nothing to end: no server runs here"

    def note(self) -> ServerNote | None:
        """What the last start wrote; None where nothing did."""
        try:
            return ServerNote.model_validate_json(self.note_file.read_bytes())
        except (OSError, ValidationError):
            return None

    def _started(self, port: int) -> str:
        url = f"http://{HOST}:{port}"
        environment = self.environment(f"{url}/api")
        say(f"Prefect: starting a server on {url} (log: {self.workspace.relative(self.folder / 'server.log')})")
        server = self._spawn(SERVER, ["server", "start", "--host", HOST, "--port", str(port)], environment)
        note = ServerNote(url=url, server_pid=server.pid, server_start=start_mark(server.pid) or "")
        self._write(note)
        _wait_until_healthy(server, f"{url}/api/health", self.folder / "server.log")
        self._prepare(environment)
        options = ["--pool", POOL, "--name", "local", "--type", "process"]
        worker = self._spawn(WORKER, ["worker", "start", *options], environment)
        start = start_mark(worker.pid) or ""
        self._write(note.model_copy(update={"worker_pid": worker.pid, "worker_start": start}))
        _wait_until_polling(worker, f"{url}/api/work_pools/{POOL}/workers/filter", self.folder / "worker.log")
        return f"a server and a worker run, and the deployments are applied\n{_where(url)}"

    def environment(self, api: str) -> dict[str, str]:
        """What both processes see: this machine's own Prefect, whatever server or profile the shell names."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if name not in ELSEWHERE and not (name.startswith("PREFECT_") and any(sign in name for sign in NOT_OURS))
        }
        ours = {
            "PREFECT_HOME": str(self.folder / "prefect"),
            "PREFECT_API_URL": api,
            "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_SECONDS),
            MARK: str(self.workspace.root),
        }
        return {"PREFECT_WORKER_QUERY_SECONDS": "3", **kept, **QUIET_PREFECT, **ours}

    def _prepare(self, environment: Mapping[str, str]) -> None:
        """In a process of its own: Prefect reads its settings once, when it is imported."""
        command = [sys.executable, "-m", "flows.local_server", "prepare"]
        done = subprocess.run(command, cwd=self.workspace.root, env=environment, timeout=START_SECONDS * 2)
        if done.returncode:
            raise WorkspaceError("the deployments were not applied (see above); nothing was left running")

    def _spawn(self, part: str, arguments: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        with (self.folder / f"{part}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "prefect", *arguments],
                cwd=self.workspace.root,
                env={**environment, PART: part},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _end_everything(self) -> list[int]:
        """The worker and its runs first, so that they can still tell the server how they ended."""
        mark = {MARK: str(self.workspace.root)}
        ended = [
            *end_marked_processes({**mark, PART: WORKER}, GRACE_SECONDS),
            *end_marked_processes(mark, GRACE_SECONDS),
        ]
        self.note_file.unlink(missing_ok=True)
        return ended

    def _write(self, note: ServerNote) -> None:
        write_bytes(self.note_file, note.model_dump_json().encode())

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One start or stop at a time."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _where(url: str) -> str:
    return f"pages: {url}\nfor commands of Prefect: export PREFECT_API_URL={url}/api\nend: make server-stop"


def _refuse_other_server(note: ServerNote | None) -> None:
    named = os.environ.get("PREFECT_API_URL")
    if named and not (note and named == f"{note.url}/api"):
        raise WorkspaceError(
            f"PREFECT_API_URL names a server already ({named}); apply the deployments to it with "
            "`python -m flows.deployments` (docs/server.md), or unset PREFECT_API_URL for one of this machine's own"
        )


def _check_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as err:
            if err.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
            why = "is taken by another program" if err.errno == errno.EADDRINUSE else "may not be used"
            raise WorkspaceError(
                f"port {port} {why}; end that program, or take another port: `make server PORT=4300`"
            ) from err


def _wait_until_healthy(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    def look() -> bool:
        with urllib.request.urlopen(address, timeout=5) as answer:
            return bool(answer.status == 200)

    _wait("Prefect's server", look, process, log)


def _wait_until_polling(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    def look() -> bool:
        request = urllib.request.Request(address, data=b"{}", headers={"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=5) as answer:
            return b'"ONLINE"' in answer.read().replace(b" ", b"")

    _wait("the worker", look, process, log)


def _wait(name: str, look: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(urllib.error.URLError, OSError):
            if look():
                return
        time.sleep(0.2)
    ended = "ended" if process.poll() is not None else f"did not answer within {START_SECONDS:.0f} s"
    tail = "\n".join(log.read_text("utf-8", "replace").splitlines()[-8:])
    raise WorkspaceError(f"{name} {ended}; the last lines of {log}:\n{tail}")


def prepare(workspace: Workspace) -> None:
    """Against the server that has just started: close what an earlier one left open, apply the deployments."""
    from prefect.client.orchestration import get_client

    from flows.deployments import apply_deployments, crash_dead_runs

    with get_client(sync_client=True) as client:
        for name in crash_dead_runs(client):
            say(f"run {name} is marked as crashed: the server was stopped while it ran", "warning")
    apply_deployments(workspace)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 1 with one message where something is wrong."""
    parser = argparse.ArgumentParser(prog="python -m flows.local_server", description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=("start", "stop", "prepare"))
    parser.add_argument("--port", type=int, default=PORT)
    asked = parser.parse_args(arguments)
    try:
        server = LocalServer(Workspace.find())
        if asked.command == "prepare":
            prepare(server.workspace)
        else:
            print(server.start(asked.port) if asked.command == "start" else server.stop())
    except GraftError as err:
        say(f"graft: {err}", "error")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
