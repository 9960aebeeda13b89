"""SIGKILL at any moment, then the same command: it goes on and ends with the digests of an undisturbed run."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from pathlib import Path

import psutil
import pytest
from desk import Desk, make_desk

from flows.processes import STAGE, WORKSPACE, marked_processes
from tasks.workspace import STAGES

STAGE_SECONDS = 3.0


def kill_in(desk: Desk, stage: str, seconds: float) -> None:
    """Start a run, wait until it is in `stage`, wait some more and kill its main process alone."""
    log = desk.home / "killed.log"
    run = desk.start(log, "adapt")
    while f"Running stage '{stage}'" not in log.read_text():
        assert run.poll() is None, log.read_text()
        time.sleep(0.05)
    time.sleep(seconds)
    os.kill(run.pid, signal.SIGKILL)
    assert run.wait(timeout=60) == -signal.SIGKILL, "the run was over before it could be killed"


def living_stages(desk: Desk) -> list[int]:
    """Processes of any stage in this desk."""
    marked = marked_processes({WORKSPACE: str(desk.root)})
    return [process.pid for process in marked if STAGE in process.environ()]


def wait_for_none(desk: Desk, seconds: float = 20.0) -> list[int]:
    deadline = time.monotonic() + seconds
    while (alive := living_stages(desk)) and time.monotonic() < deadline:
        time.sleep(0.2)
    return alive


def check_killed(undisturbed: Desk, folder: Path, stage: str, seconds: float) -> None:
    desk = make_desk(folder.resolve(), graphs_of=None if stage == "embed" else undisturbed)

    kill_in(desk, stage, seconds)
    assert wait_for_none(desk) == []
    code, result, stderr = desk.adapt()

    assert (code, result["state"]) == (0, "released"), stderr
    assert desk.results() == undisturbed.results()


def test_a_run_killed_while_it_embeds_goes_on_to_the_same_release(released_template: Desk, tmp_path: Path) -> None:
    check_killed(released_template, tmp_path, "embed", 1.0)


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_a_run_killed_in_any_stage_goes_on_to_the_same_release(
    released_template: Desk, tmp_path: Path, stage: str
) -> None:
    moment = random.Random(f"moment in {stage}").uniform(0.0, STAGE_SECONDS)

    check_killed(released_template, tmp_path, stage, moment)


@pytest.mark.slow
def test_a_stage_whose_process_is_killed_is_tried_again(released_template: Desk, tmp_path: Path) -> None:
    desk = make_desk(tmp_path.resolve(), graphs_of=released_template)
    log = desk.home / "retried.log"
    run = desk.start(log, "adapt", "--set", "flow.retry_delay_seconds=0.1")

    victims: list[psutil.Process] = []
    while not victims:
        assert run.poll() is None, log.read_text()
        marked = marked_processes({WORKSPACE: str(desk.root), STAGE: "validate"})
        victims = [process for process in marked if "tasks.validate" in process.cmdline()]
    victims[0].kill()

    assert run.wait(timeout=300) == 0, log.read_text()
    assert "Retry 1/1" in log.read_text()
    assert desk.results() == released_template.results()


@pytest.mark.slow
@pytest.mark.parametrize("content", ["", "schema: '2.0'\nstages:\n  val"], ids=["empty", "truncated"])
def test_a_broken_dvc_lock_is_mended(released: Desk, content: str) -> None:
    released.workspace.dvc_lock.write_text(content)

    code, result, stderr = released.adapt()

    assert (code, result["state"]) == (0, "released"), stderr
    assert "dvc.lock" in stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "content",
    ["", '{"write": {"data/items.par', '{"data/items.parquet": {}}', '{"write": {"ROOT/data/items.parquet": HOLDER}}'],
    ids=["empty", "truncated", "of another kind", "reused pid"],
)
def test_a_stale_rwlock_is_mended(released: Desk, content: str) -> None:
    (released.root / ".dvc" / "tmp").mkdir(exist_ok=True)
    holder = json.dumps({"pid": os.getpid(), "cmd": "dvc repro --single-item validate"})
    rwlock = released.root / ".dvc" / "tmp" / "rwlock"
    rwlock.write_text(content.replace("ROOT", str(released.root)).replace("HOLDER", holder))

    code, result, stderr = released.adapt("--force-flow")

    assert (code, result["state"]) == (0, "released"), stderr
    assert "removed .dvc/tmp/rwlock" in stderr
