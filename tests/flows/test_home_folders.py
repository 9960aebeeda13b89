"""`~name` of nobody: every door names the path and the mend, none ends in a traceback."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli import app
from tasks.errors import UserError
from tasks.workspace import Workspace, expanded

ROOT = Path(__file__).resolve().parents[2]
NOBODY = "~nobody-of-that-name/x"


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    root = tmp_path.resolve() / "workspace"
    root.mkdir()
    subprocess.run(["git", "init", "--quiet", str(root)], check=True)
    for name in ("params.yaml", "dvc.yaml", ".dvc/config"):
        (root / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    monkeypatch.chdir(root)
    return Workspace(root)


@pytest.mark.parametrize(
    "words",
    [
        f"adapt --data {NOBODY}",
        f"plan --set validate.suite={NOBODY}.json",
        f"plan --set publish.store={NOBODY}",
        f"plan --set backbone.weights={NOBODY}.pth",
        f"doctor --workspace {NOBODY}",
        f"data check {NOBODY}",
        f"data check . --page {NOBODY}",
        f"data add {NOBODY}",
        f"data fix {NOBODY}.csv",
        f"data forget {NOBODY}.png --reason asked --yes",
    ],
)
def test_a_home_folder_of_nobody_is_named_with_the_mend(workspace: Workspace, words: str) -> None:
    before = workspace.params.read_bytes()
    ended = CliRunner().invoke(app, words.split())
    assert isinstance(ended.exception, UserError), ended.exception
    assert NOBODY in str(ended.exception)
    assert "~nobody-of-that-name stands for a home folder" in str(ended.exception)
    assert "give the whole path" in str(ended.exception)
    assert workspace.params.read_bytes() == before


def test_the_same_in_params_yaml_and_in_the_environment(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFT_CACHE_DIR", NOBODY)
    with pytest.raises(UserError, match=NOBODY):
        workspace.resolve(NOBODY)
    with pytest.raises(UserError, match=NOBODY):
        print(workspace.cache)


def test_ones_own_home_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert expanded("~/photos") == tmp_path / "photos"
    assert expanded("photos/~x") == Path("photos/~x")
