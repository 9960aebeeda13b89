"""A full disk is told as one wherever it shows: in a stage, in what DVC says of one, in a command."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from flows.endings import disk_fault
from flows.stage_process import _full_disk
from tasks.errors import full_disk
from tasks.log_lines import LogLine
from tasks.params import Params
from tasks.reports import Outcome
from tasks.stage import run_stage
from tasks.workspace import Workspace

MEND = "; free some (`graft gc --dry-run` shows what may go), then run again: finished stages are not repeated"
PARAMS = Path(__file__).parents[2] / "params.yaml"


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    for name in ("params.yaml", "dvc.yaml"):
        (tmp_path / name).write_bytes((PARAMS.parent / name).read_bytes())
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GRAFT_STAGE", raising=False)
    return Workspace(tmp_path)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_stage_that_finds_no_room_fails_without_being_a_defect(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], number: int
) -> None:
    def body(_workspace: Workspace, _params: Params) -> None:
        raise OSError(number, "full", "models/adapted/head.safetensors")

    with pytest.raises(SystemExit):
        run_stage("adapt", body)
    outcome = Outcome.read(workspace.outcome("adapt"))
    assert (outcome.state, outcome.internal) == ("failed", False)
    assert outcome.reasons == [f"no space left on the disk of models/adapted/head.safetensors{MEND}"]
    assert "Traceback" not in capsys.readouterr().err


def test_another_error_of_the_system_is_a_defect_still(workspace: Workspace) -> None:
    def body(_workspace: Workspace, _params: Params) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with pytest.raises(SystemExit):
        run_stage("adapt", body)
    assert Outcome.read(workspace.outcome("adapt")).internal


def test_a_stage_whose_outcome_finds_no_room_says_so_in_its_last_line(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(_self: Outcome, path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(Outcome, "write", refuse)
    with pytest.raises(SystemExit) as ending:
        run_stage("adapt", lambda workspace, params: None)
    assert ending.value.code == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == f"adapt failed: no space left on the disk of {workspace.outcome('adapt')}{MEND}"
    assert _full_disk("adapt", ["> python -m tasks.adapt", LogLine(last, "error").marked(), "ERROR: failed"]) == last


def test_what_dvc_says_of_a_full_disk_names_the_file() -> None:
    tail = [
        "graft-progress validate 40 40",
        "ERROR: failed to transfer 'ea3d' - [Errno 28] No space left on device: '/w/items.parquet' -> '/w/.dvc/c.tmp'",
        "ERROR: failed to reproduce 'validate': [Errno 28] No space left on device",
    ]
    assert _full_disk("validate", tail) == (
        f"DVC could not keep what validate made: no space left on the disk of /w/.dvc/c.tmp{MEND}"
    )
    told = _full_disk("validate", tail[2:])
    assert told is not None
    assert told.startswith("DVC could not keep what validate made: no space left on the disk of this workspace")
    assert _full_disk("validate", ["ERROR: failed to reproduce 'validate': exited with 1"]) is None


def test_a_copy_names_where_it_would_have_gone() -> None:
    told = full_disk(OSError(errno.ENOSPC, "No space left on device", "/from/here", None, "/to/there"))
    assert told is not None
    assert "the disk of /to/there;" in told


def test_a_command_tells_of_a_full_disk_in_the_same_words_and_of_a_locked_one_in_others() -> None:
    assert (
        disk_fault(OSError(errno.ENOSPC, "No space left on device"))
        == f"no space left on the disk of this workspace{MEND}"
    )
    assert disk_fault(PermissionError(13, "Permission denied", "a")).startswith(
        "a: Permission denied; free the disk or"
    )
