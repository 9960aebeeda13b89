"""Mistakes that a look at the data folder and the params shows end before Prefect starts, params.yaml untouched."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from small_workspace import make_workspace

from flows import desk
from flows.desk import adapt_here
from flows.params_file import Edit
from tasks.errors import UserError
from tasks.workspace import Workspace


def empty(folder: Path) -> None:
    (folder / "notes.txt").write_text("nothing yet")


def flat(folder: Path) -> None:
    (folder / "one.png").write_bytes(b"never read")


def hidden(folder: Path) -> None:
    (folder / ".thumbs").mkdir()
    (folder / ".thumbs" / "one.png").write_bytes(b"never read")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return make_workspace(tmp_path_factory.mktemp("early").resolve() / "workspace", pictures=2)


def refused(workspace: Workspace, edit: Edit, monkeypatch: pytest.MonkeyPatch) -> str:
    """What the run is refused with; its flow must not start and its params stay."""
    monkeypatch.setattr(desk, "run_flow", lambda *_: pytest.fail("Prefect was started"))
    before = workspace.params.read_bytes()
    with pytest.raises(UserError) as found:
        adapt_here(workspace, [edit])
    assert workspace.params.read_bytes() == before
    return str(found.value)


@pytest.mark.parametrize(
    ("fill", "complaint"),
    [
        (empty, "holds no images (1 other file ignored)"),
        (flat, "holds 1 image but no class folders; put each class into a folder"),
        (hidden, "holds no images (1 other file ignored)"),
    ],
)
def test_a_folder_without_labelled_images_is_refused_before_the_flow(
    workspace: Workspace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fill: Callable[[Path], None],
    complaint: str,
) -> None:
    fill(tmp_path)
    assert complaint in refused(workspace, Edit(("data", "path"), str(tmp_path)), monkeypatch)


def test_an_unknown_weights_name_is_refused_before_the_flow(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    complaint = refused(workspace, Edit(("backbone", "weights"), "IMAGENET1K_V9"), monkeypatch)
    assert "did you mean 'IMAGENET1K_V1'?" in complaint


@pytest.mark.parametrize(
    ("why", "complaint"), [(" ", "--why is empty"), ("a\x07b", "--why holds U+0007"), ("x" * 2001, "--why has 2001")]
)
def test_a_reason_that_no_history_can_hold_is_refused_before_anything_else(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, why: str, complaint: str
) -> None:
    monkeypatch.setattr(desk, "workspace_lock", lambda *_: pytest.fail("the run began"))
    with pytest.raises(UserError, match=re.escape(complaint)):
        adapt_here(workspace, publish=True, why=why)
