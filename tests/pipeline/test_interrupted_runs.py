"""Ctrl-C, a terminated run and a cancelled one: the stage ends with the run, and the next run goes on."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from desk import Desk, make_desk
from test_killed_runs import wait_for_none

from flows.processes import WORKSPACE, marked_processes


def wait_until(said: str, log: Path, seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while said not in log.read_text():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize(
    "sent",
    [pytest.param(signal.SIGINT, id="Ctrl-C"), pytest.param(signal.SIGTERM, id="SIGTERM")],
)
def test_an_interrupted_run_leaves_no_process_and_the_next_goes_on(
    released_template: Desk, tmp_path: Path, sent: signal.Signals
) -> None:
    desk = make_desk(tmp_path.resolve(), graphs_of=released_template)
    log = desk.home / "interrupted.log"
    run = desk.start(log, "adapt")
    wait_until("Running stage 'embed'", log)

    os.killpg(run.pid, sent)  # a terminal sends Ctrl-C to everything in the foreground
    code = run.wait(timeout=60)

    assert wait_for_none(desk) == []
    assert marked_processes({WORKSPACE: str(desk.root)}) == []
    assert code == {signal.SIGINT: 130, signal.SIGTERM: 143}[sent], log.read_text()
    assert "the same command goes on where it stopped" in log.read_text()
    code, result, stderr = desk.adapt()
    assert (code, result["state"]) == (0, "released"), stderr
    assert "Stage 'validate' didn't change, skipping" in stderr
