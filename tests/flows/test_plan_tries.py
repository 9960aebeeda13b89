"""`graft plan --set` only tries: a person's work beside it stays, and a kill leaves nothing tried behind."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from small_workspace import make_workspace

from flows import outlook, plan
from flows.outlook import Step
from flows.params_file import Edit
from flows.plan import plan_here, restored
from flows.workspace_lock import workspace_lock
from tasks.overlay import Forgotten, forgotten_bytes, read_forgotten, write_forgotten
from tasks.params import load_params
from tasks.workspace import Workspace

EDITS = [Edit(("split", "seed"), 77)]
KILLED = """
import os, signal, sys
from pathlib import Path
from flows import outlook, plan
from flows.params_file import Edit
from tasks.workspace import Workspace

plan.ensure_dvc = lambda workspace: os.kill(os.getpid(), signal.SIGKILL)
plan.plan_here(Workspace(Path(sys.argv[1])), [Edit(("split", "seed"), 77)])
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return make_workspace(tmp_path.resolve() / "workspace", pictures=2)


@pytest.fixture
def killed(workspace: Workspace) -> Workspace:
    """A plan was killed while seed 77 stood in params.yaml."""
    ended = subprocess.run([sys.executable, "-c", KILLED, str(workspace.root)])
    assert ended.returncode == -signal.SIGKILL
    assert load_params(workspace.params).split.seed == 77
    return workspace


def mended(workspace: Workspace) -> list[str]:
    """What the next command says when it takes the lock."""
    with workspace_lock(workspace, "next") as lines:
        return lines


def test_the_next_command_undoes_what_a_killed_plan_tried_and_says_so(workspace: Workspace) -> None:
    text = workspace.params.read_text() + "# a note of mine\r\n"
    workspace.params.write_bytes(before := text.encode())
    subprocess.run([sys.executable, "-c", KILLED, str(workspace.root)])
    assert load_params(workspace.params).split.seed == 77
    assert any("an interrupted `graft plan` had tried values in params.yaml" in line for line in mended(workspace))
    assert workspace.params.read_bytes() == before
    assert mended(workspace) == []


def test_params_that_a_person_saved_after_the_kill_stay_and_a_line_says_so(killed: Workspace) -> None:
    with killed.params.open("a") as file:
        file.write("# mine\n")
    saved = killed.params.read_bytes()
    assert any("it stays as it is" in line for line in mended(killed))
    assert killed.params.read_bytes() == saved
    assert mended(killed) == []


def test_what_a_person_saves_while_plan_runs_stays(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace.corrections.unlink()
    tombstone = Forgotten("a" * 64, "asked", "me", "2026-01-01")
    untouched = workspace.params.read_text()

    def saved_beside(_: Workspace) -> list[Step]:
        assert load_params(workspace.params).split.seed == 77
        write_forgotten(workspace.forgotten, [tombstone])
        workspace.params.write_text(untouched + "# mine\n")
        return []

    monkeypatch.setattr(plan, "ensure_dvc", lambda _: [])
    monkeypatch.setattr(outlook, "plan_steps", saved_beside)
    plan_here(workspace, EDITS)
    assert read_forgotten(workspace.forgotten) == [tombstone]
    assert workspace.params.read_text() == untouched + "# mine\n"
    assert not workspace.corrections.exists()
    assert "it stays as it is" in capsys.readouterr().err


def test_a_table_that_a_person_makes_while_plan_runs_stays(workspace: Workspace) -> None:
    workspace.forgotten.unlink()
    with restored(workspace, tentative=True):
        workspace.forgotten.write_bytes(forgotten_bytes() + b"x")
    assert workspace.forgotten.read_bytes() == forgotten_bytes() + b"x"


def test_a_plan_that_ends_leaves_params_as_they_were_and_no_backup(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = workspace.params.read_bytes()
    monkeypatch.setattr(plan, "ensure_dvc", lambda _: [])
    monkeypatch.setattr(outlook, "plan_steps", lambda _: [])
    plan_here(workspace, EDITS)
    assert workspace.params.read_bytes() == before
    assert [path.name for path in workspace.private.iterdir()] == ["lock"]
