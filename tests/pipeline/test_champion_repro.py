"""Plain `dvc repro` beside a champion: it compares, but judges no use of a test set that no run put on record."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from champion_scene import enthrone, record_use
from desk import Desk
from small_workspace import change_params

from tasks.reports import EvaluationReport, Verdict
from tasks.reports.qualification import Qualification


def repro(desk: Desk, *stages: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dvc", "repro", *stages],
        cwd=desk.root,
        env=desk.environment(PATH=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"),
        capture_output=True,
        text=True,
        timeout=500,
    )


@pytest.mark.slow
def test_a_use_of_the_test_set_that_no_run_entered_is_not_judged_and_one_that_is_needs_nothing_more(
    released: Desk,
) -> None:
    workspace = released.workspace
    enthrone(workspace)
    change_params(workspace, {"adapt": {"method": {"head": "ridge"}}})

    done = repro(released)

    assert done.returncode != 0
    assert "this use of the test set is not on record (data/test_use.json); run `graft adapt`" in done.stderr
    (pair,) = EvaluationReport.read(workspace.evaluation).comparisons
    assert pair.counts is not None
    assert not workspace.verdict.exists()

    record_use(workspace, use=2)
    done = repro(released)
    assert done.returncode == 0, done.stderr
    champion = Verdict.read(workspace.verdict).champion
    assert champion is not None
    assert (champion.version, champion.use) == (3, 2)
    assert "champion" in [check.check for check in Qualification.read(workspace.qualification).checks]
    assert "Running stage" not in repro(released).stdout

    change_params(workspace, {"promotion": {"equivalent": True}})
    due = json.loads(released.dvc("status", "--json"))
    assert {"gate", "export", "qualify"} == set(due)


@pytest.mark.slow
def test_the_model_in_production_is_not_exported_a_second_time(released: Desk) -> None:
    workspace = released.workspace
    champion = enthrone(workspace)
    assert repro(released, "evaluate").returncode == 0
    record_use(workspace)

    done = repro(released)

    assert done.returncode != 0
    words = f"this model is in production already, as v3 (release {champion.manifest_sha256[:12]}); nothing to export"
    assert words in done.stderr
    verdict = Verdict.read(workspace.verdict)
    assert verdict.passed
    assert verdict.champion is not None
    assert verdict.champion.outcome == "unchanged"
