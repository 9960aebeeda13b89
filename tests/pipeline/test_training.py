"""Fine-tuning through the command line: a release whose probabilities are calibrated, killed or not, here or there."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from desk import Desk, make_desk
from small_workspace import add_pictures

from flows.processes import STAGE, WORKSPACE, marked_processes
from tasks.reports import AdaptationReport, EvaluationReport, Verdict
from tasks.reports.qualification import Qualification

pytestmark = pytest.mark.slow

PICTURES, EPOCHS = 80, 12
SETTINGS: dict[str, Any] = {
    "adapt.method.name": "fine_tune",
    "adapt.method.blocks": 2,
    "adapt.method.epochs": EPOCHS,
    "adapt.method.batch_size": 8,
    "adapt.method.min_validation_items": 8,
    "adapt.keep_best": "false",
    "split.validation_share": 0.25,
    "gate.calibration_error.maximum": 0.5,
    "gate.accuracy.minimum": 0.0,
    "gate.macro_f1.minimum": 0.0,
    "gate.class_recall.minimum": 0.0,
    "gate.gain_over_majority.minimum": -1.0,
}
EDITS = [word for key, value in SETTINGS.items() for word in ("--set", f"{key}={value}")]


def training_desk(folder: Path, graphs_of: Desk | None = None) -> Desk:
    desk = make_desk(folder, graphs_of)
    add_pictures(desk.root / "data" / "raw", PICTURES)
    return desk


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Desk, dict[str, Any]]:
    """A desk that fine-tuned and released, and what the command line said."""
    desk = training_desk(tmp_path_factory.mktemp("training").resolve())
    code, result, stderr = desk.adapt(*EDITS)
    assert code == 0, stderr
    return desk, result


def checkpoints_of_epochs(desk: Desk) -> list[Path]:
    """States of trainings that are under way."""
    return list((desk.root / ".graft" / "checkpoints").glob("*/state.pt"))


def test_fine_tuning_releases_a_network_with_the_probabilities_that_were_judged(
    undisturbed: tuple[Desk, dict[str, Any]],
) -> None:
    desk, result = undisturbed
    adapted = AdaptationReport.read(desk.workspace.adapted / "adapted.json")
    assert (result["state"], adapted.method) == ("released", "fine_tune")
    assert adapted.training is not None
    assert adapted.training.judged_by == "validation"
    assert len(adapted.training.epochs) == EPOCHS + 1
    assert adapted.temperature != 1.0
    assert EvaluationReport.read(desk.workspace.evaluation).calibration.temperature == adapted.temperature
    assert Verdict.read(desk.workspace.verdict).passed
    checks = {check.check: check for check in Qualification.read(desk.workspace.qualification).checks}
    assert all(check.passed for check in checks.values())
    assert "parity" in checks


def test_a_training_that_is_killed_goes_on_to_the_same_release(
    undisturbed: tuple[Desk, dict[str, Any]], tmp_path: Path
) -> None:
    desk = training_desk(tmp_path.resolve(), graphs_of=undisturbed[0])
    log = desk.home / "killed.log"
    run = desk.start(log, "adapt", *EDITS)
    while not checkpoints_of_epochs(desk):
        assert run.poll() is None, log.read_text()
        time.sleep(0.02)
    (stage,) = [
        process
        for process in marked_processes({WORKSPACE: str(desk.root), STAGE: "adapt"})
        if "tasks.adapt" in process.cmdline()
    ]
    os.killpg(os.getpgid(stage.pid), signal.SIGKILL)
    os.kill(run.pid, signal.SIGKILL)
    run.wait(timeout=60)
    assert checkpoints_of_epochs(desk), "training was over before it could be killed"

    code, result, stderr = desk.adapt(*EDITS)

    assert (code, result["state"]) == (0, "released"), stderr
    assert "training goes on behind epoch" in everything_said(desk, stderr)
    assert desk.results() == undisturbed[0].results()


def everything_said(desk: Desk, stderr: str) -> str:
    """What the last run said, on the terminal and in the logs of its stages."""
    logs = sorted((desk.root / ".graft").rglob("*.log*"))
    return stderr + "".join(path.read_text(errors="replace") for path in logs)


def test_a_run_that_adapts_anew_finds_its_training_again(
    undisturbed: tuple[Desk, dict[str, Any]], tmp_path: Path
) -> None:
    desk = undisturbed[0].copy(tmp_path.resolve())
    report = desk.workspace.adapted / "adapted.json"
    (outcome,) = (desk.root / ".graft" / "checkpoints").glob("*/outcome.pt")
    trained, written = AdaptationReport.read(report).training, outcome.stat().st_ino
    report.unlink()

    code, _, stderr = desk.adapt("--set", "adapt.keep_best=true")

    assert code == 0, stderr
    assert AdaptationReport.read(report).training == trained
    # A training that is computed again replaces its file; one that is found only marks it as used.
    assert [path.stat().st_ino for path in outcome.parent.parent.glob("*/*.pt")] == [written]


def test_learning_curves_are_plots_of_dvc(undisturbed: tuple[Desk, dict[str, Any]], tmp_path: Path) -> None:
    desk, _ = undisturbed
    page = tmp_path / "plots"
    desk.dvc("plots", "show", "reports/learning_curves.csv", "--out", str(page))
    drawn = (page / "index.html").read_text()
    assert "learning_curves.csv" in drawn
    assert f'"epoch": "{EPOCHS}"' in drawn or f'"epoch":"{EPOCHS}"' in drawn
