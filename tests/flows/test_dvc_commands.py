"""What DVC is told and what it says."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from toy_workspace import Toy

from flows.dvc_commands import dvc_status, ensure_dvc, explain, run_dvc
from tasks.errors import WorkspaceError
from tasks.workspace import Workspace


def test_status_says_why_each_stage_would_run(finished: Toy) -> None:
    (finished.root / "data" / "zero.txt").write_text("other\n")
    status = dvc_status(finished.workspace)
    assert status["one"] == ["data/zero.txt modified"]
    assert "data/two.txt deleted" in status["two"]
    assert set(status) == {"one", "two", "three"}


def test_status_names_the_keys_of_params_and_a_changed_command(toy: Toy) -> None:
    toy.workspace.dvc_yaml.write_text("stages: {a: {cmd: echo hi > a, params: [limit, size], outs: [a]}}")
    toy.workspace.params.write_text("limit: 1\nsize: 2\n")
    run_dvc(toy.workspace, "repro", "a")
    assert dvc_status(toy.workspace) == {}
    toy.workspace.params.write_text("limit: 3\n")
    toy.workspace.dvc_yaml.write_text("stages: {a: {cmd: echo ho > a, params: [limit, size], outs: [a]}}")
    assert dvc_status(toy.workspace) == {
        "a": ["params.yaml limit modified", "params.yaml size deleted", "changed command"]
    }


def test_a_broken_dvc_yaml_is_a_users_error_in_dvcs_words(toy: Toy) -> None:
    toy.workspace.dvc_yaml.write_text("stages: {one: {command: x}}")
    with pytest.raises(WorkspaceError, match=r"(?s)`dvc status --json` .* failed: .*dvc\.yaml"):
        dvc_status(toy.workspace)


def test_a_dvc_that_hangs_is_given_up(toy: Toy) -> None:
    with pytest.raises(WorkspaceError, match="did not end within 0 s"):
        run_dvc(toy.workspace, "status", timeout_seconds=0.01)


def test_dvc_is_set_up_without_links_reports_or_upgrade_checks(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    assert ensure_dvc(workspace) == ["set up DVC in .dvc (it was missing)"]
    config = (tmp_path / ".dvc" / "config").read_text()
    for line in ("no_scm = true", "analytics = false", "check_update = false", 'type = "reflink,copy"'):
        assert line in config
    assert ensure_dvc(workspace) == []
    assert run_dvc(workspace, "config", "cache.type").strip() == "reflink,copy"
    assert run_dvc(workspace, "config", "core.autostage").strip() == "false"


def test_a_checkout_that_lost_its_git_still_works(toy: Toy) -> None:
    shutil.rmtree(toy.root / ".git")
    with pytest.raises(WorkspaceError):
        dvc_status(toy.workspace)
    assert ensure_dvc(toy.workspace) == ["told DVC that this folder has no git (.dvc/config.local)"]
    assert toy.run("one").state == "done"


@pytest.mark.parametrize("types", ["hardlink,copy", "symlink"])
def test_a_cache_that_links_is_refused_with_the_mend(toy: Toy, types: str) -> None:
    (toy.root / ".dvc" / "config.local").write_text(f"[cache]\n    type = {types!r}\n")
    with pytest.raises(WorkspaceError, match=r"dvc config --local cache.type reflink,copy"):
        ensure_dvc(toy.workspace)


def test_unreadable_settings_are_named(toy: Toy) -> None:
    (toy.root / ".dvc" / "config").write_text("[core\n")
    with pytest.raises(WorkspaceError, match="settings"):
        ensure_dvc(toy.workspace)


def test_an_error_without_words_names_a_way_on() -> None:
    assert "doctor" in explain([])
