"""The pages as the doors handle them: `data check --page`, and what a run that stopped early leaves."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from small_workspace import CLASSES, add_pictures
from typer.testing import CliRunner

from flows.cli import app
from flows.corridor import CorridorRun
from flows.data_commands import check_here
from tasks.errors import DataError
from tasks.params import Params
from tasks.workspace import Workspace


def photos(root: Path) -> Path:
    add_pictures(root / "photos", 12)
    (root / "photos" / CLASSES[0] / "torn.png").write_bytes(b"\x89PNG")
    return root / "photos"


def test_data_check_writes_the_page_that_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    photos(tmp_path)
    result = CliRunner().invoke(app, ["data", "check", "photos", "--page", "out/data.html"])
    assert result.exit_code == 2
    page = (tmp_path / "out" / "data.html").read_text(encoding="utf-8")
    assert "The data are refused" in page
    assert "ember/torn.png" in page
    assert f"page: {tmp_path / 'out' / 'data.html'}" in result.stderr


def test_a_folder_is_no_page(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is a folder; name the file to write, such as .*data\.html"):
        check_here(tmp_path, page=tmp_path)


@pytest.mark.parametrize(
    ("state", "stopped_in", "left"),
    [
        ("failed", "preparation", {"data", "model"}),
        ("failed", "validate", set()),
        ("refused", "validate", {"data"}),
        ("failed", "embed", set()),
        ("failed", "review", set()),
        ("failed", "adapt", {"data"}),
        ("refused", "gate", {"data", "model"}),
        ("released", None, {"data", "model"}),
    ],
)
def test_no_page_of_an_earlier_run_stands_beside_a_run_that_did_not_write_it(
    tmp_path: Path, state: str, stopped_in: str | None, left: set[str]
) -> None:
    workspace = Workspace(tmp_path)
    pages = {"data": workspace.validation_page, "model": workspace.page}
    for page in pages.values():
        page.parent.mkdir(exist_ok=True)
        page.write_text("of an earlier run")
    run = CorridorRun(workspace, Params(), "run", threading.Event())
    run._remove_stale_pages(state, stopped_in)
    assert {name for name, page in pages.items() if page.exists()} == left
