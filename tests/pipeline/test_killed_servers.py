"""SIGKILL of a run's process, its worker, both, and the server in mid-run: each ends in a state with a name.

One story on one server: each fault hits the run a stage further on than the one before, nothing is ever published by a
run that died, and the run after all of them releases what an undisturbed one does. docs/recovery.md tells the same.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from desk import Desk, make_desk
from server_desk import ENDED, ServerDesk, make_server_desk, waited
from small_workspace import change_params

from flows.deployments import SILENCE
from flows.processes import STAGE
from flows.versions import versions
from tasks.digests import folder_sha256
from tasks.workspace import Workspace

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000)]

ADAPT = "deployed-adapt/on-demand"
SERVER_GONE_SECONDS = 15.0


@dataclass(frozen=True)
class Seen:
    """What a fault came to.

    Attributes:
        seconds: from the kill until the server knew the final state.
        left: stages' processes that lived on then.
        versions: how many there were then.
        said: the run's log, as the server has it.
    """

    state: dict[str, Any]
    seconds: float
    left: list[int]
    versions: int
    said: list[str]


@dataclass(frozen=True)
class Story:
    """All faults by name, then the run that was let alone."""

    server: ServerDesk
    faults: dict[str, Seen]
    last: dict[str, Any]
    said: list[str]


def part(server: ServerDesk, name: str) -> psutil.Process:
    """The server's or the worker's own process."""
    (found,) = [
        process
        for process in server.processes()
        if process.environ().get("GRAFT_SERVER_PART") == name and process.cmdline()[2:4] == ["prefect", name]
    ]
    return found


def stage_processes(server: ServerDesk, stage: str | None = None) -> list[psutil.Process]:
    """Processes of any stage, or of one."""
    found = []
    for process in server.processes():
        with suppress(psutil.Error, OSError):
            running = process.environ().get(STAGE)
            if running and stage in (None, running):
                found.append(process)
    return found


def flow_process(server: ServerDesk) -> psutil.Process:
    """The one that runs the flow: below the worker, above the stages."""
    ancestors = stage_processes(server)[0].parents()
    worker = part(server, "worker").pid
    place = [process.pid for process in ancestors].index(worker)
    return ancestors[place - 1]


def begin(server: ServerDesk, why: str) -> str:
    status, run = server.begin(ADAPT, why=why)
    assert status == 201, run
    return str(run["id"])


def wait_for_stage(server: ServerDesk, run: str, stage: str) -> None:
    def look() -> bool | None:
        state = server.flow_run(run)["state"]
        assert state["type"] not in ENDED, (state, server.log("worker"))
        return bool(stage_processes(server, stage)) or None

    waited(look, 400, lambda: server.log("worker"))


def hit(server: ServerDesk, why: str, stage: str, kill: Callable[[], None]) -> Seen:
    """A run that is hit in a stage, followed until the server knows how it ended."""
    run = begin(server, why)
    wait_for_stage(server, run, stage)
    kill()
    began = time.monotonic()
    state = server.ended(run, 600)
    seconds = time.monotonic() - began
    waited(lambda: True if not stage_processes(server) else None, 60, lambda: str(stage_processes(server)))
    left = [process.pid for process in stage_processes(server)]
    return Seen(state, seconds, left, len(versions(server.desk.root)), server.log_lines(run))


def start_like(process: dict[str, Any], log: Path) -> subprocess.Popen[bytes]:
    """The same command in the same surroundings, as systemd would start it again."""
    with log.open("ab") as out:
        return subprocess.Popen(
            process["cmdline"], cwd=process["cwd"], env=process["environ"], stdin=subprocess.DEVNULL, stdout=out,
            stderr=out, start_new_session=True,
        )  # fmt: skip


def known(process: psutil.Process) -> dict[str, Any]:
    return process.as_dict(["cmdline", "cwd", "environ"])


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    server = make_server_desk(tmp_path_factory.mktemp("killed").resolve())
    logs = server.desk.root / ".graft" / "server"
    restarted: list[subprocess.Popen[bytes]] = []

    def kill_flow() -> None:
        flow_process(server).kill()

    def kill_worker() -> None:
        worker = part(server, "worker")
        again = known(worker)
        worker.kill()
        worker.wait(30)
        time.sleep(5.0)
        restarted.append(start_like(again, logs / "worker.log"))

    def kill_both() -> None:
        worker, flow = part(server, "worker"), flow_process(server)
        again = known(worker)
        worker.kill()
        flow.kill()
        psutil.wait_procs([worker, flow], timeout=30)
        restarted.append(start_like(again, logs / "worker.log"))

    def kill_server() -> None:
        process = part(server, "server")
        again = known(process)
        for one in [*process.children(recursive=True), process]:
            with suppress(psutil.Error):
                one.kill()
        time.sleep(SERVER_GONE_SECONDS)
        restarted.append(start_like(again, logs / "server.log"))
        waited(lambda: _answers(server), 200, lambda: server.log("server"))

    try:
        server.start()
        faults = {
            "flow": hit(server, "its process is killed", "embed", kill_flow),
            "worker": hit(server, "its worker is killed", "adapt", kill_worker),
            "both": hit(server, "both are killed", "evaluate", kill_both),
            "server": hit(server, "the server is killed", "gate", kill_server),
        }
        last = begin(server, "let alone")
        ended = server.ended(last)
        time.sleep(3.0)  # The last lines are sent when the process ends.
        yield Story(server, faults, ended, server.log_lines(last))
    finally:
        server.stop()
        for process in restarted:
            process.wait(60)
        assert server.processes() == []


def _answers(server: ServerDesk) -> bool | None:
    with suppress(OSError):
        return True if server.ask("GET", "/health")[0] == 200 else None
    return None


@pytest.mark.parametrize("fault", ["flow", "worker", "both"])
def test_a_run_whose_process_dies_is_crashed(story: Story, fault: str) -> None:
    seen = story.faults[fault]
    print(f"{fault}: {seen.state['name']} after {seen.seconds:.0f} s: {seen.state['message']}")
    assert (seen.state["type"], seen.left) == ("CRASHED", [])
    assert seen.versions == 0


def test_a_run_outlives_its_server(story: Story) -> None:
    seen = story.faults["server"]
    print(f"server: {seen.state['name']} after {seen.seconds:.0f} s: {seen.state['message']}")
    assert (seen.state["type"], seen.left) == ("COMPLETED", [])


def test_the_heartbeat_tells_of_a_run_that_nobody_else_can_tell_of(story: Story) -> None:
    state = story.faults["both"].state
    assert f"no heartbeat for {SILENCE.seconds} s" in state["message"]


def test_the_run_after_all_of_them_ends_well(story: Story) -> None:
    assert story.last["type"] == "COMPLETED", (story.last, story.said)
    assert len(versions(story.server.desk.root)) == 1


@pytest.mark.parametrize(("fault", "finished_before"), [("worker", "validate"), ("both", "embed"), ("server", "adapt")])
def test_a_run_goes_on_from_the_last_stage_that_one_before_had_finished(
    story: Story, fault: str, finished_before: str
) -> None:
    said = story.faults[fault].said
    assert any(f"Stage '{finished_before}' is cached" in line for line in said), said


def test_no_worktree_of_a_dead_run_is_left(story: Story) -> None:
    worktrees = story.server.desk.root / ".graft" / "worktrees"
    assert [path for path in worktrees.iterdir() if path.is_dir()] == []
    assert story.server.git("status", "--porcelain") == ""


def test_the_release_is_that_of_an_undisturbed_run(story: Story, tmp_path_factory: pytest.TempPathFactory) -> None:
    desk = make_desk(tmp_path_factory.mktemp("undisturbed").resolve())
    change_params(desk.workspace, {"data": {"path": str(story.server.desk.root.parent / "pictures")}})
    code, result, stderr = desk.adapt()
    assert (code, result["state"]) == (0, "released"), stderr
    (ours,), (theirs,) = release_folders(story.server.desk), release_folders(desk)
    for name in ("model.onnx", "labels.json", "preprocess.json"):
        assert (ours / name).read_bytes() == (theirs / name).read_bytes(), name
    assert folder_sha256(ours / "golden") == folder_sha256(theirs / "golden")


def release_folders(desk: Desk) -> list[Path]:
    store = Workspace(desk.root).store("releases")
    return [path for path in store.iterdir() if len(path.name) == 64]
