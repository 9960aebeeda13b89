"""A run's log: its form, its fields, the file that keeps it."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
from pathlib import Path

import pytest

from flows import logs
from flows.logs import LINE, RecordHandler, RunLog, chosen_format, early_format, graft_version, reworded_ending
from flows.params_file import Edit
from tasks.errors import ParamsError
from tasks.log_lines import LogLine
from tasks.workspace import Workspace

SET_JSON = [Edit(("flow", "log_format"), "json")]


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.delenv("GRAFT_LOG_FORMAT", raising=False)
    (tmp_path / "params.yaml").write_text("{}\n")
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    return Workspace(tmp_path)


@pytest.fixture
def log(workspace: Workspace) -> RunLog:
    log = RunLog()
    log.begin(workspace, "r1")
    return log


def kept(workspace: Workspace) -> list[dict[str, object]]:
    return [json.loads(line) for line in workspace.run_log("r1").read_text().splitlines()]


def test_the_flag_wins_over_the_variable_and_that_over_set_and_params(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert chosen_format(workspace, None, []) == "text"
    workspace.params.write_text("flow: {log_format: json}\n")
    assert chosen_format(workspace, None, []) == "json"
    assert chosen_format(workspace, None, [Edit(("flow", "log_format"), "text")]) == "text"
    monkeypatch.setenv("GRAFT_LOG_FORMAT", "text")
    assert chosen_format(workspace, None, SET_JSON) == "text"
    assert chosen_format(workspace, "json", []) == "json"


def test_a_form_that_does_not_exist_is_named_with_the_nearest(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ParamsError, match=r"--log-format: unknown value 'jsn'; did you mean 'json'\?"):
        chosen_format(workspace, "jsn", [])
    monkeypatch.setenv("GRAFT_LOG_FORMAT", "txt")
    with pytest.raises(ParamsError, match=r"GRAFT_LOG_FORMAT: unknown value 'txt'; did you mean 'text'\?"):
        chosen_format(workspace, None, [])


def test_broken_params_do_not_keep_the_log_from_starting(workspace: Workspace) -> None:
    workspace.params.write_text("flow: [unclosed\n")
    assert chosen_format(workspace, None, []) == "text"


@pytest.mark.parametrize(
    ("arguments", "environment", "form"),
    [
        (["adapt"], {}, "text"),
        (["adapt", "--log-format", "json"], {}, "json"),
        (["adapt", "--log-format=json"], {}, "json"),
        (["adapt", "--log-format", "text"], {"GRAFT_LOG_FORMAT": "json"}, "text"),
        (["doctor"], {"GRAFT_LOG_FORMAT": "json"}, "json"),
    ],
)
def test_the_form_is_known_before_the_command_line_is_checked(
    arguments: list[str], environment: dict[str, str], form: str
) -> None:
    assert early_format(arguments, environment) == form


def test_a_text_log_shows_text_and_keeps_objects(
    log: RunLog, workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    log.line(LogLine("two\nlines", "warning"), stage="embed")
    assert capsys.readouterr() == ("", "two\nlines\n")
    (line,) = kept(workspace)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", str(line.pop("time")))
    assert line == {
        "level": "warning",
        "run": "r1",
        "stage": "embed",
        "version": log.version,
        "message": "two\nlines",
    }


def test_a_json_log_prints_what_it_keeps_one_object_a_line(
    log: RunLog, workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    log.as_json = True
    log.line(LogLine("it broke", "error", "Traceback ...\nValueError: x"))
    log.line(LogLine("quiet"), shown=False)
    printed = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert printed == kept(workspace)
    assert printed[0]["exception"] == "Traceback ...\nValueError: x"


def test_progress_is_rate_limited_and_its_end_is_told(log: RunLog, workspace: Workspace) -> None:
    for done in range(1, 101):
        log.progress("embed", done, 100)
    assert [line["progress"] for line in kept(workspace)] == [{"done": 1, "total": 100}, {"done": 100, "total": 100}]


def test_a_log_that_cannot_be_kept_ends_nothing(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    workspace.private.write_text("in the way\n")
    log = RunLog()
    log.begin(workspace, "r1")
    log.line(LogLine("still told"))
    assert capsys.readouterr().err == "still told\n"
    assert log.kept() is None


def test_records_of_logging_become_lines_with_their_stage_and_traceback(
    log: RunLog, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "run_log", log)
    logger = logging.getLogger("test_logs")
    handler = RecordHandler(shown=False)
    logger.addHandler(handler)
    logger.propagate = False
    try:
        raise ValueError("seven")
    except ValueError:
        logger.exception("it failed", extra={"task_run_name": "embed"})
    logger.warning("as shown", extra={LINE: LogLine("as told", "warning"), "task_run_name": "something else"})
    logger.removeHandler(handler)
    failed, told = kept(workspace)
    assert (failed["stage"], failed["level"], failed["message"]) == ("embed", "error", "it failed")
    assert "ValueError: seven" in str(failed["exception"])
    assert (told["stage"], told["message"]) == (None, "as told")


def test_the_version_names_the_commit_where_there_is_one(tmp_path: Path) -> None:
    assert "+g" not in graft_version(tmp_path)
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", *who, "commit", "-q", "--allow-empty", "-m", "one"], cwd=tmp_path, check=True)
    assert re.fullmatch(r"[\d.]+\+g[0-9a-f]{12}", graft_version(tmp_path))


NOISE = """
import os, subprocess, sys, threading, warnings
from flows.logs import start_logs
from tasks.stage import say

start_logs("json")
say("ours")
warnings.warn("of Python")
os.write(2, b"from C\\n")
subprocess.run([sys.executable, "-c", "import sys; print('of a child', file=sys.stderr)"])
thread = threading.Thread(target=lambda: 1 / 0)
thread.start()
thread.join()
say("ours again", "warning")
raise RuntimeError("the end")
"""


def test_in_the_json_form_whatever_reaches_stderr_is_one_object_a_line() -> None:
    done = subprocess.run([sys.executable, "-c", NOISE], capture_output=True, text=True)
    lines = {line["message"]: line for line in map(json.loads, done.stderr.splitlines())}
    assert {"ours", "from C", "of a child", "ours again"} <= set(lines)
    assert any("UserWarning: of Python" in message for message in lines)
    assert "division by zero" in str(lines["ZeroDivisionError: division by zero"]["exception"])
    assert lines["RuntimeError: the end"]["level"] == "critical"
    assert "Traceback" in str(lines["RuntimeError: the end"]["exception"])
    assert done.stdout == ""


STAGE = """
import logging, sys, warnings
from tasks.stage import run_stage, say

def body(workspace, params):
    say("a line")
    warnings.warn("a warning")
    logging.getLogger("library").error("of a library")
    raise KeyError("nothing")

run_stage("embed", body)
"""


@pytest.mark.parametrize(("marks", "form"), [({"GRAFT_STAGE": "embed", "GRAFT_RUN_ID": "r1"}, "marked"), ({}, "json")])
def test_a_stages_lines_keep_level_and_traceback_on_their_way(
    workspace: Workspace, marks: dict[str, str], form: str
) -> None:
    environment = {"PATH": "/usr/bin", "PYTHONPATH": str(Path(logs.__file__).parents[1]), "GRAFT_LOG_FORMAT": "json"}
    done = subprocess.run(
        [sys.executable, "-c", STAGE], cwd=workspace.root, env=environment | marks, capture_output=True, text=True
    )
    assert done.returncode == 1
    plain, *rest = done.stderr.splitlines()
    if form == "marked":
        assert plain == "a line"
        assert all(line.startswith("graft-log {") for line in rest)
    lines = [json.loads(line.removeprefix("graft-log ")) for line in (rest if form == "marked" else [plain, *rest])]
    assert form == "marked" or {line["stage"] for line in lines} == {"embed"}
    by_level = [(line["level"], line["message"]) for line in lines if line["message"] != "a line"]
    assert [level for level, _ in by_level] == ["warning", "error", "error", "error"]
    assert "UserWarning: a warning" in by_level[0][1]
    assert by_level[1] == ("error", "of a library")
    assert "KeyError: 'nothing'" in lines[-2]["exception"]


@pytest.mark.parametrize(
    ("message", "level", "told"),
    [
        (
            "Crash detected! Execution was aborted by an interrupt signal.",
            "WARNING",
            "stopped by an interrupt signal",
        ),
        (
            "Finished in state Crashed('Execution was aborted by a termination signal.')",
            "WARNING",
            "stopped by a termination signal",
        ),
        ("Crash detected! Execution was interrupted.", "ERROR", "Crash detected! Execution was interrupted."),
    ],
)
def test_a_wanted_stop_is_no_error(message: str, level: str, told: str) -> None:
    record = logging.LogRecord("prefect.flow_runs", logging.ERROR, "", 0, "%s", (message,), None)
    assert reworded_ending(record)
    assert (record.levelname, record.getMessage()) == (level, told)


@pytest.mark.parametrize("state", ["Failed", "Refused"])
def test_a_final_state_does_not_repeat_the_reason(state: str) -> None:
    message = f"Finished in state {state}('the stage told it\\nalready', type=FAILED)"
    record = logging.LogRecord("prefect.task_runs", logging.ERROR, "", 0, message, (), None)
    assert reworded_ending(record)
    assert (record.levelname, record.getMessage()) == ("ERROR", f"Finished in state {state}")
