"""Logs of whole runs: every line of stderr is an object, however the run ends, and the same lines are kept."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

from desk import Desk

FIELDS = {"time", "level", "run", "stage", "version", "message"}


def objects(text: str) -> list[dict[str, Any]]:
    """Every line, parsed; each must hold the fields that all have."""
    lines = [json.loads(line) for line in text.splitlines()]
    assert all(line.keys() >= FIELDS for line in lines)
    return lines


def kept(desk: Desk, run_id: str) -> list[dict[str, Any]]:
    return objects(desk.workspace.run_log(run_id).read_text())


def test_a_failed_run_in_the_json_form_is_objects_alone_and_its_log_is_named(released: Desk) -> None:
    wanted = ["gate.accuracy.minimum=0.5", "limits.stages.gate.memory_gb=0.01"]
    options = [part for edit in wanted for part in ("--set", edit)]
    code, result, stderr = released.adapt("--log-format", "json", *options)
    assert (code, result["state"], result["stopped_in"]) == (1, "failed", "gate")
    assert "over limits.stages.gate.memory_gb = 0.01 (params.yaml)" in result["reasons"][0]
    assert result["memory_gb"]["gate"] > 0.01
    lines = objects(stderr)
    assert {line["run"] for line in lines} == {result["run_id"]}
    assert {"validate", "embed", "gate", None} <= {line["stage"] for line in lines}
    assert [line["level"] for line in lines][-1] == "error"
    assert f"log: .graft/runs/{result['run_id']}.log.jsonl" in lines[-2]["message"]
    assert kept(released, result["run_id"]) == lines
    assert "Retry" not in stderr, "a stage over its memory must not be tried again"
    assert "flow.log_format" not in stderr
    assert "log_format: text" in released.workspace.params.read_text()


def test_ctrl_c_in_the_json_form_leaves_objects_alone(released: Desk, tmp_path: Path) -> None:
    log, printed = tmp_path / "log", tmp_path / "printed"
    process = released.start(log, "adapt", "--force-flow", "--json", printed=printed, GRAFT_LOG_FORMAT="json")
    deadline = time.monotonic() + 120
    while '"stage": "validate"' not in log.read_text() and time.monotonic() < deadline:
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(60) == 130
    lines = objects(log.read_text())
    assert any("interrupted; the same command goes on" in line["message"] for line in lines)
    assert not [line for line in lines if line["level"] in ("error", "critical")]
    assert "Crash" not in log.read_text()
    result = json.loads(printed.read_text())
    assert (result["state"], result["run_id"]) == ("interrupted", lines[-1]["run"])
    assert "the same command goes on" in result["reasons"][0]


def test_a_text_run_keeps_its_lines_as_objects(released: Desk) -> None:
    (kept_log,) = (released.root / ".graft" / "runs").glob("*.log.jsonl")
    lines = objects(kept_log.read_text())
    stages = [line["stage"] for line in lines if " done in " in line["message"]]
    assert stages[:2] == ["validate", "embed"]
    assert stages[-1] == "qualify"
    assert lines[-1]["message"].startswith("run released: releases/")
