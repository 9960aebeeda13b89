"""What a run pins before its first stage."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from small_workspace import change_params, make_workspace

from flows.inputs import memory_path, write_inputs
from flows.state import StateRef
from tasks.backbones.engine import installed_engine
from tasks.digests import file_sha256
from tasks.errors import DataError, ParamsError, WeightsError, WorkspaceError
from tasks.params import Params, load_params, parse_params
from tasks.reports.engine import Engine
from tasks.reports.pins import SourcePin, WeightsPin
from tasks.tables import SPLIT_MEMORY, read_table, table_bytes
from tasks.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return make_workspace(tmp_path.resolve() / "workspace", pictures=2)


def test_a_fresh_run_pins_the_engine_the_weights_and_an_empty_memory(workspace: Workspace) -> None:
    assert Engine.read(workspace.engine) == installed_engine()
    assert WeightsPin.read(workspace.weights_pin) == WeightsPin(name="none", identity="none")
    assert SourcePin.read(workspace.source_pin) == SourcePin()
    assert read_table(workspace.splits_lock, SPLIT_MEMORY).num_rows == 0


def test_writing_again_touches_no_file(workspace: Workspace) -> None:
    pinned = [workspace.engine, workspace.weights_pin, workspace.source_pin, workspace.splits_lock]
    before = [path.stat() for path in pinned]
    write_inputs(workspace, load_params(workspace.params))
    after = [path.stat() for path in pinned]
    assert [(now.st_ino, now.st_mtime_ns) for now in after] == [(then.st_ino, then.st_mtime_ns) for then in before]


def test_a_damaged_pin_is_written_anew(workspace: Workspace) -> None:
    workspace.engine.write_text("{")
    write_inputs(workspace, load_params(workspace.params))
    assert Engine.read(workspace.engine) == installed_engine()


def test_the_memory_of_these_split_params_is_what_split_sees(workspace: Workspace) -> None:
    params = load_params(workspace.params)
    row = {"sha256": "0" * 64, "label": "ember", "side": "test"}
    remembered = table_bytes(pa.Table.from_pylist([row], schema=SPLIT_MEMORY))
    StateRef(workspace.root).write({memory_path(params): remembered}, "Remember", None)
    write_inputs(workspace, params)
    assert workspace.splits_lock.read_bytes() == remembered
    write_inputs(workspace, change_params(workspace, {"split": {"seed": 1}}))
    assert read_table(workspace.splits_lock, SPLIT_MEMORY).num_rows == 0


def test_only_split_params_choose_the_memory() -> None:
    assert memory_path(parse_params({"adapt": {"method": {"seed": 1}}})) == memory_path(Params())
    assert memory_path(parse_params({"split": {"test_share": 0.3}})) != memory_path(Params())


@pytest.mark.parametrize(
    ("section", "key", "name", "pin"),
    [("data", "table", "items.csv", "table_sha256"), ("validate", "suite", "suite.json", "suite_sha256")],
)
def test_a_table_and_a_suite_are_pinned_by_content(
    workspace: Workspace, section: str, key: str, name: str, pin: str
) -> None:
    params = change_params(workspace, {section: {key: name}})
    for content in ("first", "second"):
        (workspace.root / name).write_text(content)
        write_inputs(workspace, params)
        assert getattr(SourcePin.read(workspace.source_pin), pin) == file_sha256(workspace.root / name)


def test_a_missing_table_or_suite_is_named_with_the_mend(workspace: Workspace) -> None:
    with pytest.raises(
        DataError, match=r"data\.table: .*/gone\.csv does not exist or is no file; correct it in params"
    ):
        write_inputs(workspace, change_params(workspace, {"data": {"table": "gone.csv"}}))
    with pytest.raises(ParamsError, match=r"validate\.suite: .*/gone\.json does not exist"):
        write_inputs(workspace, change_params(workspace, {"data": {"table": None}, "validate": {"suite": "gone.json"}}))


def test_missing_weights_are_named(workspace: Workspace) -> None:
    with pytest.raises(WeightsError, match=r"backbone\.weights: .*/gone\.pth does not exist"):
        write_inputs(workspace, change_params(workspace, {"backbone": {"weights": "gone.pth"}}))


def test_weights_are_pinned_by_content_and_never_by_path(workspace: Workspace) -> None:
    (workspace.root / "net.pth").write_bytes(b"weights")
    write_inputs(workspace, change_params(workspace, {"backbone": {"weights": str(workspace.root / "net.pth")}}))
    pin = WeightsPin.read(workspace.weights_pin)
    assert pin == WeightsPin(name="net.pth", identity=file_sha256(workspace.root / "net.pth"))


def test_a_workspace_outside_of_git_is_named_with_the_mend(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(workspace.root.parent))
    (workspace.root / ".git").rename(workspace.root.parent / "git")
    with pytest.raises(WorkspaceError, match="`git init` makes one"):
        write_inputs(workspace, load_params(workspace.params))
