"""`graft adapt --json` that is stopped: one object on stdout, and the signal's exit code."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from flows.cli import result_of
from flows.corridor import CorridorRun, run_corridor
from flows.result import RunResult, summary
from tasks.errors import StageFailed
from tasks.workspace import Workspace


@pytest.mark.parametrize(
    ("stop", "code"), [(KeyboardInterrupt(), 130), (SystemExit(143), 143)], ids=["Ctrl-C", "SIGTERM"]
)
def test_a_stopped_run_is_one_object_that_says_how_to_go_on(stop: BaseException, code: int) -> None:
    def run() -> RunResult:
        raise stop

    result, exit_code = result_of(run, lambda: "20260101T000000-0")
    assert (result.state, exit_code) == ("interrupted", code)
    assert result.reasons == ["interrupted; the same command goes on where it stopped"]
    assert summary(result).endswith("interrupted; the releases before it stand as they were")


def test_any_other_exit_is_no_stop() -> None:
    def run() -> RunResult:
        raise SystemExit(1)

    with pytest.raises(SystemExit):
        result_of(run, lambda: "20260101T000000-0")


@pytest.fixture
def worktree(tmp_path: Path) -> Workspace:
    """A run's worktree beside its checkout."""
    run = Workspace(tmp_path / "run")
    run.private.mkdir(parents=True)
    (run.private / "home").write_text(f"{tmp_path / 'checkout'}\n")
    run.params.write_text("schema_version: 2\n")
    return run


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), SystemExit(143)], ids=["Ctrl-C", "SIGTERM"])
def test_a_run_that_is_stopped_leaves_its_result_where_the_checkout_keeps_them(
    worktree: Workspace, monkeypatch: pytest.MonkeyPatch, stop: BaseException
) -> None:
    def stopped(run: CorridorRun) -> None:
        run.at = "embed"
        raise stop

    monkeypatch.setattr(CorridorRun, "_pin", stopped)
    with pytest.raises(type(stop)):
        run_corridor(worktree, "run-1", threading.Event())
    result = RunResult.read(Workspace(worktree.home).run_result("run-1"))
    assert (result.state, result.stopped_in, result.release) == ("interrupted", "embed", None)


@pytest.mark.parametrize(("is_set", "state"), [(True, "interrupted"), (False, "failed")])
def test_a_stage_that_a_cancelled_run_ended_is_no_failure(
    worktree: Workspace, monkeypatch: pytest.MonkeyPatch, is_set: bool, state: str
) -> None:
    def ended(_: CorridorRun) -> None:
        raise StageFailed("embed was cancelled")

    cancelled = threading.Event()
    if is_set:
        cancelled.set()
    monkeypatch.setattr(CorridorRun, "_pin", ended)
    result = run_corridor(worktree, "run-1", cancelled)
    assert (result.state, result.reasons) == (state, ["embed was cancelled"])


def test_a_mistake_of_ours_is_no_stop(worktree: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CorridorRun, "_pin", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run_corridor(worktree, "run-1", threading.Event())
    assert not Workspace(worktree.home).run_result("run-1").exists()
