"""One trial as a process: what it says is heard, and it ends when it should."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from flows.processes import WORKSPACE, marked_processes
from flows.tune_trainings import Trainings
from flows.tune_trial import TrialEnd, run_trial
from tasks.params import Params
from tasks.reports.trials import TrialEpoch, TrialOutcome, TrialWord
from tasks.workspace import Workspace

OUTCOME = TrialOutcome(accuracy=0.75, loss=0.5, items=40, judged_by="cross_validation", epochs=2, best_epoch=1)
SCRIPT = """
import json, os, sys, time
from pathlib import Path
mode, said = sys.argv[1], json.loads(sys.argv[2])
params = json.loads(Path(sys.argv[3]).read_text())
print("threads", os.environ.get("OMP_NUM_THREADS"), "stage", os.environ["GRAFT_STAGE"], flush=True)
print("method", params["adapt"]["method"]["name"], "checkpoints", Path(sys.argv[4]).name, flush=True)
for line in said:
    print(line, flush=True)
if mode == "hang":
    Path("hanging").touch()
    time.sleep(600)
if mode == "eat":
    kept = [bytearray(1 << 20) for _ in range(300)]
    time.sleep(600)
sys.exit(3 if mode == "crash" else 0)
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path.resolve())


def epoch(number: int, accuracy: float = 0.5) -> str:
    return TrialWord(epoch=TrialEpoch(epoch=number, epochs=6, accuracy=accuracy, loss=1.0)).line()


def tried(
    workspace: Workspace,
    mode: str,
    said: list[str],
    on_epoch: Callable[[TrialEpoch], bool] = lambda _: False,
    lines: list[str] | None = None,
    seconds: float = 60.0,
    cancelled: threading.Event | None = None,
    **limits: Any,
) -> TrialEnd:
    params = Params.model_validate({"limits": limits})
    command = (sys.executable, "-c", SCRIPT, mode, json.dumps(said))
    told: Callable[[str], None] = (lines if lines is not None else []).append
    folder = workspace.root / "checkpoints"
    return run_trial(workspace, params, folder, "run-1", seconds, on_epoch, told, cancelled, command)


def left_behind(workspace: Workspace) -> list[psutil.Process]:
    return marked_processes({WORKSPACE: str(workspace.root)})


def test_what_a_trial_says_is_heard(workspace: Workspace) -> None:
    heard: list[TrialEpoch] = []
    lines: list[str] = []

    def hear(one: TrialEpoch) -> bool:
        heard.append(one)
        return False

    said = [epoch(1), "a library's word", epoch(2, 0.7), "graft-trial {broken", TrialWord(outcome=OUTCOME).line()]
    end = tried(workspace, "work", said, hear, lines, threads=3)
    assert (end.state, end.outcome) == ("complete", OUTCOME)
    assert [(one.epoch, one.accuracy) for one in heard] == [(1, 0.5), (2, 0.7)]
    assert lines == [
        "threads 3 stage adapt",
        "method linear_probe checkpoints checkpoints",
        "a library's word",
        "graft-trial {broken",
    ]
    assert list((workspace.private / "tune").iterdir()) == []


def test_a_trial_that_falls_behind_is_ended_at_once(workspace: Workspace) -> None:
    heard: list[int] = []

    def behind(one: TrialEpoch) -> bool:
        heard.append(one.epoch)
        return one.epoch == 2

    end = tried(workspace, "hang", [epoch(1), epoch(2), epoch(3)], behind)
    assert end.state == "pruned"
    assert heard == [1, 2]
    assert left_behind(workspace) == []


def test_a_trial_ends_when_its_time_is_over(workspace: Workspace) -> None:
    end = tried(workspace, "hang", [epoch(1)], seconds=1.5)
    assert end.state == "time"
    assert left_behind(workspace) == []


def test_a_cancelled_run_ends_its_trial(workspace: Workspace) -> None:
    cancelled = threading.Event()

    def cancel_once_it_hangs() -> None:
        while not (workspace.root / "hanging").exists():
            time.sleep(0.05)
        cancelled.set()

    thread = threading.Thread(target=cancel_once_it_hangs)
    thread.start()
    end = tried(workspace, "hang", [epoch(1)], cancelled=cancelled)
    thread.join()
    assert end.state == "cancelled"
    assert left_behind(workspace) == []


def test_ctrl_c_ends_the_trial_and_goes_on_its_way(workspace: Workspace) -> None:
    def interrupt(_one: TrialEpoch) -> bool:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tried(workspace, "hang", [epoch(1)], interrupt)
    assert left_behind(workspace) == []
    assert list((workspace.private / "tune").iterdir()) == []


def test_a_fault_that_the_trial_names_is_the_reason(workspace: Workspace) -> None:
    fault = "adapt.method.blocks is 9, but the network has 7 blocks"
    end = tried(workspace, "crash", [TrialWord(fault=fault).line()])
    assert (end.state, end.reason) == ("failed", fault)


def test_a_crash_is_told_with_its_last_lines(workspace: Workspace) -> None:
    end = tried(workspace, "crash", ["ValueError: something broke"])
    assert end.state == "failed"
    assert end.reason.startswith("it ended with exit code 3: ")
    assert end.reason.endswith("ValueError: something broke")


def test_a_trial_without_an_outcome_has_failed(workspace: Workspace) -> None:
    assert tried(workspace, "work", []).state == "failed"


def test_a_trial_keeps_to_the_memory_that_adapt_may_use(workspace: Workspace) -> None:
    end = tried(workspace, "eat", [], stages={"adapt": {"memory_gb": 0.1}})
    assert (end.state, end.reason) == (
        "failed",
        "it used more memory than limits.stages.adapt.memory_gb allows and was ended",
    )
    assert left_behind(workspace) == []


def test_trainings_of_other_settings_are_removed_and_the_best_are_handed_on(workspace: Workspace) -> None:
    trainings, checkpoints = Trainings(workspace.private / "tune" / "search"), workspace.checkpoints
    trainings.keep_only({"rate": 1.0})  # before there is any
    for rate in (1.0, 2.0, 3.0):
        (trainings.of({"rate": rate}) / f"digest-{rate}").mkdir(parents=True)
        (trainings.of({"rate": rate}) / "shared").mkdir()
    (checkpoints / "shared").mkdir(parents=True)
    (checkpoints / "shared" / "state.pt").touch()
    trainings.keep_only({"rate": 1.0}, {"rate": 3.0})
    assert sorted(path.name for path in trainings.folder.iterdir()) == sorted(
        trainings.of({"rate": rate}).name for rate in (1.0, 3.0)
    )
    trainings.hand_on({"rate": 3.0}, checkpoints)
    trainings.hand_on({"rate": 9.0}, checkpoints)
    assert sorted(path.name for path in checkpoints.iterdir()) == ["digest-3.0", "shared"]
    assert (checkpoints / "shared" / "state.pt").is_file()
