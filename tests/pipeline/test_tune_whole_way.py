"""`graft tune` as a user has it: it goes on after a kill, keeps comments in params.yaml, ends with its budget."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest
from desk import Desk

from flows.processes import STAGE, WORKSPACE, marked_processes
from tasks.params import LinearProbeParams, load_params
from tasks.reports.trials import TuneReport

COMMENTED = """
  # why this method
  method:
    name: linear_probe  # the quick one
    head: logistic      # as ever
    class_weight: none
  from_scratch: never   # not here

"""


def tune(desk: Desk, *arguments: str) -> tuple[int, TuneReport, str]:
    """Exit code, the JSON object that is all of stdout, and stderr."""
    done = desk.graft("tune", "--json", *arguments)
    return done.returncode, TuneReport.model_validate(json.loads(done.stdout)), done.stderr


def task_runs(desk: Desk, flow: str) -> list[tuple[str, str]]:
    """(name, state) of every task run of the newest run of a flow, in order."""
    with sqlite3.connect(desk.home / "prefect" / "prefect.db") as database:
        newest = (
            "select flow_run.id from flow_run join flow on flow_run.flow_id = flow.id where flow.name = ? "
            "order by flow_run.created desc limit 1"
        )
        rows = database.execute(
            f"select name, state_name from task_run where flow_run_id = ({newest}) order by expected_start_time",
            (flow,),
        )
        return [(str(name), str(state)) for name, state in rows]


def comment_method(desk: Desk) -> str:
    """Give adapt's section in params.yaml comments; returns the file's text."""
    text = desk.workspace.params.read_text()
    before, found, after = text.partition("adapt:\n")
    rest = after.splitlines(keepends=True)
    while rest and rest[0].startswith(" "):
        rest.pop(0)
    assert found
    new = f"{before}adapt:{COMMENTED}{''.join(rest)}"
    desk.workspace.params.write_text(new)
    return new


def tried(report: TuneReport) -> list[tuple[Any, ...]]:
    return sorted(tuple(trial.settings.values()) for trial in report.trials)


def test_a_search_goes_on_after_a_kill_and_writes_the_best_settings(released: Desk) -> None:
    desk = released
    before = comment_method(desk)
    log = desk.home / "killed.log"
    run = desk.start(log, "tune", "--budget", "5m")
    while "trial 1:" not in log.read_text():
        assert run.poll() is None, log.read_text()
        time.sleep(0.05)
    os.kill(run.pid, signal.SIGKILL)
    assert run.wait(timeout=60) == -signal.SIGKILL
    assert desk.workspace.params.read_text() == before, "nothing is written before the search ends"

    code, report, stderr = tune(desk, "--budget", "5m")
    assert (code, report.state) == (0, "done"), stderr
    assert "going on with a search of 1 trials (1 interrupted)" in stderr
    assert (report.tried, len(report.trials), report.present) == (3, 4, 0)
    assert tried(report) == sorted((head, weight) for head in ("logistic", "ridge") for weight in ("balanced", "none"))
    assert report.ended == "every combination was tried"
    assert [trial.state for trial in report.trials] == ["complete"] * 4
    assert report.trials[0].number == report.best
    names = [name for name, state in task_runs(desk, "tune") if state == "Completed"]
    assert names[:4] == ["validate", "embed", "split", "review"]
    assert [name.split("-")[0] for name in names[4:]] == ["trial"] * 3

    assert report.written
    assert report.changes == {"adapt.method.head": "ridge"}
    expected = before.replace("head: logistic      # as ever", "head: ridge         # as ever")
    assert desk.workspace.params.read_text() == expected
    assert "-    head: logistic" in stderr
    assert report.page == "reports/tune.html"
    assert TuneReport.read(desk.root / "reports" / "tune.json") == report
    page = (desk.root / report.page).read_text()
    assert "ridge" in page
    assert "none of the test set" in page
    assert [path.suffix for path in (desk.workspace.private / "tune").iterdir()] == [".db"]

    again = desk.graft("tune", "--trials", "4")
    assert again.returncode == 0, again.stderr
    assert "nothing is better than what params.yaml says" in again.stdout
    assert "0 trials in this run" in again.stdout
    assert again.stdout.splitlines()[-1] == "reports/tune.html"
    assert desk.workspace.params.read_text() == expected


def test_a_dry_run_searches_and_leaves_params_yaml_as_it_is(released: Desk) -> None:
    before = released.workspace.params.read_bytes()
    code, report, stderr = tune(released, "--dry-run", "--trials", "2", "--set", "adapt.method.class_weight=balanced")
    assert (code, report.state, report.tried) == (0, "done", 2), stderr
    present = next(trial for trial in report.trials if trial.number == report.present)
    assert present.settings == {"head": "logistic", "class_weight": "balanced"}
    assert not report.written
    assert released.workspace.params.read_bytes() == before
    assert report.ended == "2 trials stand (--trials)"


def test_a_slip_is_named_before_anything_is_computed(released: Desk) -> None:
    code, report, _ = tune(released, "--budget", "10")
    assert (code, report.state, report.reasons) == (
        1,
        "failed",
        ["--budget '10' is no time; write 30s, 10m, 2h or 1h30m"],
    )
    code, report, _ = tune(released, "--set", "adapt.method.blocks=2")
    assert code == 1
    assert "unknown key 'adapt.method.blocks' of linear_probe" in report.reasons[0]
    assert isinstance(load_params(released.workspace.params).adapt.method, LinearProbeParams)


@pytest.mark.slow
def test_a_budget_ends_a_training_and_the_next_run_goes_on_with_it(released: Desk) -> None:
    method = ["--set", "adapt.method.name=fine_tune", "--set", "adapt.method.batch_size=8"]
    code, report, stderr = tune(released, "--budget", "5s", *method, "--set", "adapt.method.epochs=500")
    assert (code, report.state) == (1, "failed"), stderr
    assert report.reasons[0] == "no trial came to its end: the budget is used up"
    assert "--budget" in report.reasons[1]
    assert [(trial.state, trial.settings["epochs"]) for trial in report.trials] == [("unfinished", 500)]
    assert not [one for one in marked_processes({WORKSPACE: str(released.root)}) if STAGE in one.environ()]

    code, report, stderr = tune(released, "--trials", "1", "--set", "adapt.method.epochs=2")
    assert (code, report.state, report.tried) == (0, "done", 1), stderr
    states = [(trial.state, trial.settings["epochs"]) for trial in report.trials]
    assert states == [("complete", 2), ("unfinished", 500)]
    assert report.probe_accuracy is not None
    assert released.workspace.checkpoints.is_dir(), "the best trial's trainings are where adapt finds them"


@pytest.mark.slow
def test_ctrl_c_keeps_what_was_tried(released: Desk, tmp_path: Path) -> None:
    log, printed = tmp_path / "log", tmp_path / "out"
    run = released.start(log, "tune", "--json", printed=printed)
    while "trial 1:" not in log.read_text():
        assert run.poll() is None, log.read_text()
        time.sleep(0.05)
    os.kill(run.pid, signal.SIGINT)
    assert run.wait(timeout=120) == 130, log.read_text()
    report = TuneReport.model_validate(json.loads(printed.read_text()))
    assert (report.state, report.reasons) == ("interrupted", ["interrupted; the same command goes on where it stopped"])
    assert "Traceback" not in log.read_text()
    assert not [one for one in marked_processes({WORKSPACE: str(released.root)}) if STAGE in one.environ()]
    code, report, stderr = tune(released, "--trials", "2")
    assert (code, report.tried, len(report.trials)) == (0, 1, 2), stderr
