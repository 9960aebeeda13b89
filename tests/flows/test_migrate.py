"""`graft migrate`: version 1 becomes version 2 line by line; nothing of the user's is lost, nothing is half-written."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from flows.migrate import migrate_here, migrated_params
from flows.params_file import edit_params
from flows.workspace_lock import workspace_lock
from tasks.errors import ParamsError, WorkspaceError
from tasks.params import load_params
from tasks.params.versions import PARAMS_VERSION
from tasks.workspace import Workspace

ROOT = Path(__file__).resolve().parents[2]
EARLIER = ROOT / "tests" / "golden" / "v1" / "params.yaml"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A workspace with the params.yaml that Graft 0.1.0 brought."""
    root = tmp_path.resolve() / "workspace"
    root.mkdir()
    shutil.copy(ROOT / "dvc.yaml", root / "dvc.yaml")
    shutil.copy(EARLIER, root / "params.yaml")
    return Workspace(root)


def plain(text: str) -> dict[str, Any]:
    document: dict[str, Any] = YAML(typ="safe").load(text)
    return document


def migrate_text(workspace: Workspace, text: str) -> str:
    workspace.params.write_bytes(text.encode())
    migrate_here(workspace, dry_run=False)
    return workspace.params.read_bytes().decode()


def test_the_file_of_the_version_before_changes_in_two_lines_alone(workspace: Workspace) -> None:
    before = workspace.params.read_text().splitlines()
    said = migrate_here(workspace, dry_run=False)
    after = workspace.params.read_text().splitlines()
    gone = [line for line in before if line not in after]
    assert gone == ["schema_version: 1", "  threads: 0               # 0 takes every core"]
    assert [line for line in after if line not in before] == ["schema_version: 2"]
    assert [line for line in after if line in before] == [line for line in before if line in after]
    assert "-schema_version: 1\n+schema_version: 2\n" in said
    load_params(workspace.params)


def test_every_other_way_to_read_it_names_the_command(workspace: Workspace) -> None:
    for read in (lambda: load_params(workspace.params), lambda: edit_params(workspace, [])):
        with pytest.raises(ParamsError, match=r"has schema_version 1, this Graft reads 2; run `graft migrate`"):
            read()


def test_dry_run_shows_the_change_and_writes_nothing(workspace: Workspace) -> None:
    before = workspace.params.read_bytes()
    said = migrate_here(workspace, dry_run=True)
    assert "+schema_version: 2\n" in said
    assert said.endswith("nothing was written (--dry-run)")
    assert workspace.params.read_bytes() == before


def test_again_there_is_nothing_to_do(workspace: Workspace) -> None:
    migrate_here(workspace, dry_run=False)
    before = workspace.params.stat()
    assert migrate_here(workspace, dry_run=False) == "params.yaml has schema_version 2 already; nothing to do"
    assert (workspace.params.stat().st_ino, workspace.params.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_sections_that_came_with_this_version_are_named_where_the_file_has_none(workspace: Workspace) -> None:
    workspace.params.write_text(workspace.params.read_text() + "\nreport: {thumbnails: false}\n")
    said = migrate_here(workspace, dry_run=False).splitlines()
    new = [line.partition("until you add it: ")[2] for line in said if line.startswith("new, at its defaults")]
    assert [line.partition(" (")[0] for line in new] == ["review", "limits"]
    for line in new:
        section, _, keys = line.partition(" (")
        for key in keys.partition(":")[0].split(", "):
            assert hasattr(getattr(load_params(workspace.params), section), key)


def test_threads_of_embed_hold_for_the_stages_that_they_held_for(workspace: Workspace) -> None:
    workspace.params.write_text(workspace.params.read_text().replace("threads: 0  ", "threads: 3  "))
    migrate_here(workspace, dry_run=False)
    limits = load_params(workspace.params).limits
    assert [limits.of(stage).threads for stage in ("validate", "embed", "qualify", "adapt")] == [0, 3, 3, 0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            "# mine\nschema_version: 1  # old\nembed: {batch_size: 4, threads: 2}  # small box\ndata: {path: 'a b'}\n",
            "# mine\nschema_version: 2  # old\nembed: {batch_size: 4}              # small box\ndata: {path: 'a b'}\n\n"
            "limits:\n  stages:\n    embed:\n      threads: 2\n    qualify:\n      threads: 2\n",
            id="flow style",
        ),
        pytest.param(
            "schema_version: 1\nembed:   # ours\n  threads: 0\n\n# next\nsplit:\n  seed: 4\n",
            "schema_version: 2\nembed: {}   # ours\n\n# next\nsplit:\n  seed: 4\n",
            id="the only key",
        ),
        pytest.param(
            "schema_version: 1\nembed:\n  # about threads\n  threads: 0   # the CI box has two cores\n"
            "  batch_size: 2\n",
            "schema_version: 2\nembed:\n  # about threads\n"
            "  # (threads, now limits.stages.embed.threads) the CI box has two cores\n  batch_size: 2\n",
            id="a comment of the user's",
        ),
        pytest.param(
            "# mine\n\nsplit: {seed: 1}\n", "# mine\n\nschema_version: 2\nsplit: {seed: 1}\n", id="no version"
        ),
        pytest.param("# nothing yet\n", "schema_version: 2\n# nothing yet\n", id="comments alone"),
        pytest.param(
            "schema_version: 1\r\nembed:\r\n  threads: 1\r\n  batch_size: 8\r\n",
            "schema_version: 2\r\nembed:\r\n  batch_size: 8\r\n\r\n"
            "limits:\r\n  stages:\r\n    embed:\r\n      threads: 1\r\n    qualify:\r\n      threads: 1\r\n",
            id="line ends of Windows",
        ),
        pytest.param(
            "schema_version: 1\nembed:\n  threads: 2\n  batch_size: 8\nlimits:\n  threads: 4   # all\n",
            "schema_version: 2\nembed:\n  batch_size: 8\nlimits:\n  threads: 4   # all\n"
            "  stages:\n    embed:\n      threads: 2\n    qualify:\n      threads: 2\n",
            id="limits are there",
        ),
        pytest.param("embed: {threads: 0}", "schema_version: 2\nembed: {}", id="no line end"),
    ],
)
def test_what_a_user_made_of_the_file_survives(workspace: Workspace, text: str, expected: str) -> None:
    found = migrate_text(workspace, text)
    assert found.rstrip("\r\n") == expected.rstrip("\r\n")
    assert load_params(workspace.params).schema_version == PARAMS_VERSION
    assert migrate_here(workspace, dry_run=False).endswith("nothing to do")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("schema_version: 3\n", r"schema_version 3, this Graft reads 2: it was written for a newer Graft; upgrade"),
        ("schema_version: one\n", "schema_version 'one' is none"),
        ("schema_version: 1\nspilt: {}\n", r"as migrated: unknown key 'spilt'; did you mean 'split'"),
        ("schema_version: 1\nembed: {threads: many}\n", "as migrated: limits.stages.embed.threads: 'many' is not all"),
        ("- a\n", "must hold sections"),
        ("embed: [", "not readable as YAML"),
        (
            "schema_version: 1\nx: &x {threads: 2}\n",
            "unknown key 'x'",
        ),
        (
            "schema_version: 1\nembed: &both\n  threads: 2\nlimits: *both\n",
            r"cannot be migrated by itself .*set schema_version to 2 and move embed\.threads to limits\.stages\.embed",
        ),
    ],
)
def test_what_cannot_be_migrated_is_named_and_left_as_it_was(workspace: Workspace, text: str, complaint: str) -> None:
    workspace.params.write_text(text)
    with pytest.raises(ParamsError, match=complaint):
        migrate_here(workspace, dry_run=False)
    assert workspace.params.read_text() == text


def test_a_running_workspace_is_not_migrated(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.workspace_lock.PATIENCE_SECONDS", 0.1)
    before = workspace.params.read_bytes()
    with workspace_lock(workspace, "run-1"), pytest.raises(WorkspaceError):
        migrate_here(workspace, dry_run=False)
    assert workspace.params.read_bytes() == before


def test_the_params_of_today_need_no_migration() -> None:
    assert migrated_params(Workspace(ROOT)).diff == ""
