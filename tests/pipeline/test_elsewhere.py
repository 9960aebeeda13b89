"""Another path, another environment, a Prefect server: the same release."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from desk import Desk, make_desk
from test_killed_runs import wait_for_none


def copied_environment(folder: Path) -> Path:
    """The running virtual environment at another path: hard links where the disk allows, files of its own elsewhere."""

    def link_or_copy(source: str, target: str) -> str:
        try:
            os.link(source, target)
        except OSError:
            shutil.copy2(source, target)
        return target

    shutil.copytree(sys.prefix, folder, symlinks=True, copy_function=link_or_copy)
    return folder / "bin" / "python"


@pytest.mark.slow
def test_two_environments_at_different_paths_make_the_same_release(released_template: Desk, tmp_path: Path) -> None:
    python = copied_environment(tmp_path / "elsewhere" / "environment")
    desk = make_desk(tmp_path.resolve() / "another place")
    where = subprocess.run(
        [python, "-c", "import torch, onnx; print(torch.__file__)"], capture_output=True, text=True, check=True
    )
    assert where.stdout.startswith(str(tmp_path))

    done = subprocess.run(
        [python, "-m", "flows.cli", "adapt", "--json"],
        cwd=desk.root,
        env=desk.environment(),
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stderr
    assert desk.results() == released_template.results()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Server:
    """A Prefect server of the test's own."""

    def __init__(self, home: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/api"
        settings = {"PREFECT_HOME": str(home), "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}
        self.environment = {**os.environ, **settings, "PREFECT_API_URL": self.url}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "prefect", "server", "start", "--port", str(self.port)],
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def wait(self, seconds: float = 120.0) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f"{self.url}/health", timeout=5).close()
                return
            except OSError:
                time.sleep(0.3)
        raise AssertionError("the Prefect server did not start")

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """The server's answer to a POST."""
        headers = {"content-type": "application/json"}
        request = urllib.request.Request(f"{self.url}/{path}", json.dumps(body or {}).encode(), headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server"))
    try:
        server.wait()
        yield server
    finally:
        os.killpg(server.process.pid, signal.SIGKILL)


@pytest.mark.slow
def test_a_run_against_a_server_shows_tasks_artifacts_and_its_end(released: Desk, server: Server) -> None:
    code, result, stderr = released.adapt("--force-flow", PREFECT_API_URL=server.url)

    assert (code, result["state"]) == (0, "released"), stderr
    (run,) = [run for run in server.ask("flow_runs/filter") if run["state_name"] == "Released"]
    assert (run["state_type"], run["run_count"]) == ("COMPLETED", 1)
    tasks = [task["name"] for task in server.ask("task_runs/filter") if task["flow_run_id"] == run["id"]]
    stages = ["validate", "embed", "split", "review", "adapt", "evaluate", "gate", "export", "qualify", "publish"]
    assert sorted(tasks) == sorted(stages)
    assert {"metrics", "verdict", "confusion-matrix"} <= {
        artifact["key"] for artifact in server.ask("artifacts/filter")
    }


@pytest.mark.slow
def test_a_run_cancelled_on_the_server_ends_its_stage_and_itself(
    released_template: Desk, tmp_path: Path, server: Server
) -> None:
    desk = make_desk(tmp_path.resolve(), graphs_of=released_template)
    log = desk.home / "cancelled.log"
    run = desk.start(log, "adapt", PREFECT_API_URL=server.url)
    while "Running stage 'validate'" not in log.read_text():
        assert run.poll() is None, log.read_text()
        time.sleep(0.05)
    (running,) = [found["id"] for found in server.ask("flow_runs/filter") if found["state_type"] == "RUNNING"]

    server.ask(f"flow_runs/{running}/set_state", {"state": {"type": "CANCELLING", "name": "Cancelling"}})
    code = run.wait(timeout=60)

    assert wait_for_none(desk) == []
    assert code == 130, log.read_text()
    assert "was cancelled" in log.read_text()
    states = {found["id"]: found["state_type"] for found in server.ask("flow_runs/filter")}
    assert states[running] == "CANCELLED"
