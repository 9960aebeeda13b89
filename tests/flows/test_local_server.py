"""The local server before it starts anything: what it refuses, what it sees as running, what its processes see."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.local_server import LocalServer, ServerNote, main
from flows.processes import start_mark
from tasks.errors import WorkspaceError
from tasks.workspace import Workspace


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalServer:
    for name in [name for name in os.environ if name.startswith("PREFECT_")]:
        monkeypatch.delenv(name)
    (tmp_path / "params.yaml").touch()
    (tmp_path / "dvc.yaml").touch()
    return LocalServer(Workspace(tmp_path.resolve()))


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


def note(server_pid: int, worker_pid: int, mark: str | None = None) -> ServerNote:
    starts = [mark or start_mark(pid) or "" for pid in (server_pid, worker_pid)]
    return ServerNote(
        url="http://127.0.0.1:4299",
        server_pid=server_pid,
        server_start=starts[0],
        worker_pid=worker_pid,
        worker_start=starts[1],
    )


def test_a_taken_port_is_named_with_the_mend_and_nothing_is_started(server: LocalServer, taken_port: int) -> None:
    with pytest.raises(WorkspaceError, match=rf"port {taken_port} is taken.*make server PORT="):
        server.start(taken_port)
    assert not server.note_file.exists()
    assert not (server.folder / "server.log").exists()


def test_a_server_that_the_shell_names_is_not_doubled(server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "https://prefect.example.org/api")
    with pytest.raises(WorkspaceError, match=r"prefect\.example\.org.*python -m flows\.deployments"):
        server.start(4299)


def test_stop_without_a_server_says_so(server: LocalServer) -> None:
    assert server.stop() == "nothing to end: no server runs here"


def test_a_server_that_runs_is_left_alone(server: LocalServer) -> None:
    server._write(note(os.getpid(), os.getpid()))
    told = server.start(4299)
    assert told.startswith("a server and its worker run already\npages: http://127.0.0.1:4299")


def test_a_process_of_the_same_number_that_began_later_is_not_taken_for_the_server() -> None:
    assert note(os.getpid(), os.getpid()).living() == ["server", "worker"]
    assert note(os.getpid(), os.getpid(), mark="another boot:1").living() == []


def test_a_note_that_cannot_be_read_counts_as_none(server: LocalServer) -> None:
    assert server.note() is None
    server.folder.mkdir(parents=True)
    server.note_file.write_text('{"url": ')
    assert server.note() is None


def test_its_processes_see_their_own_prefect_whatever_the_shell_names(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign = {
        "PREFECT_API_URL": "https://prefect.example.org/api",
        "PREFECT_PROFILE": "team",
        "PREFECT_API_AUTH_STRING": "admin:secret",
        "PREFECT_SERVER_API_AUTH_STRING": "admin:secret",
        "PREFECT_API_DATABASE_CONNECTION_URL": "postgresql+asyncpg://prefect.example.org/prefect",
    }
    for name, value in {**foreign, "PREFECT_LOGGING_LEVEL": "DEBUG"}.items():
        monkeypatch.setenv(name, value)
    seen = server.environment("http://127.0.0.1:4299/api")
    assert not set(foreign.items()) & set(seen.items())
    assert seen["PREFECT_API_URL"] == "http://127.0.0.1:4299/api"
    assert seen["PREFECT_HOME"] == str(server.folder / "prefect")
    assert seen["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert seen["PREFECT_LOGGING_LEVEL"] == "DEBUG"


def test_stop_ends_what_carries_the_mark_even_without_a_note(server: LocalServer) -> None:
    """As after a crash of the server, or a lost .graft/server/server.json."""
    sleeper = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]
    environment = {**os.environ, "GRAFT_SERVER": str(server.workspace.root), "GRAFT_SERVER_PART": "worker"}
    with subprocess.Popen(sleeper, env=environment, stdout=subprocess.PIPE, start_new_session=True) as stray:
        assert stray.stdout is not None
        stray.stdout.readline()
        assert server.stop() == "ended (1 processes)"
        assert stray.wait(10) != 0


def test_a_mistake_at_the_command_line_is_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["start"]) == 1
    assert "is not inside a Graft workspace" in capsys.readouterr().err
