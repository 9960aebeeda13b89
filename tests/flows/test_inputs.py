"""What a run pins before its first stage."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from small_workspace import change_params, make_workspace

from flows.inputs import memory_path, write_inputs, write_split_memory
from flows.plan import restored
from flows.state import StateRef
from tasks.backbones.engine import installed_engine
from tasks.digests import file_sha256
from tasks.errors import DataError, ParamsError, WeightsError, WorkspaceError
from tasks.grouping import item_columns
from tasks.overlay import Forgotten, write_forgotten
from tasks.params import Params, load_params, parse_params
from tasks.reports.champion import ChampionPin, PinnedRelease, TestUse
from tasks.reports.engine import Engine
from tasks.reports.pins import SourcePin, WeightsPin
from tasks.splitting import label_order
from tasks.tables import ITEMS, SPLIT_MEMORY, read_table, table_bytes
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
    pinned += [workspace.champion_pin, workspace.test_use]
    before = [path.stat() for path in pinned]
    write_inputs(workspace, load_params(workspace.params))
    after = [path.stat() for path in pinned]
    assert [(now.st_ino, now.st_mtime_ns) for now in after] == [(then.st_ino, then.st_mtime_ns) for then in before]


def test_a_run_without_a_champion_and_before_any_judgement_pins_just_that(workspace: Workspace) -> None:
    assert ChampionPin.read(workspace.champion_pin) == ChampionPin()
    assert TestUse.read(workspace.test_use) == TestUse()


def test_the_champion_and_the_use_of_the_test_set_stay_where_nobody_pins_anew(workspace: Workspace) -> None:
    pin = ChampionPin(champion=PinnedRelease(version=3, manifest_sha256="3" * 64))
    use = TestUse(test_set="7" * 64, model="8" * 64, use=4)
    write_inputs(workspace, load_params(workspace.params), pin)
    use.write(workspace.test_use)
    write_inputs(workspace, load_params(workspace.params))
    assert ChampionPin.read(workspace.champion_pin) == pin
    assert TestUse.read(workspace.test_use) == use


def test_the_split_memory_alone_leaves_the_champion_as_it_was_judged(workspace: Workspace) -> None:
    workspace.champion_pin.write_text("{}")
    workspace.splits_lock.unlink()
    write_split_memory(workspace, load_params(workspace.params))
    assert workspace.champion_pin.read_text() == "{}"
    assert read_table(workspace.splits_lock, SPLIT_MEMORY).num_rows == 0


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


def test_the_users_decisions_get_a_header_where_absent_and_are_theirs_after(workspace: Workspace) -> None:
    params = load_params(workspace.params)
    assert workspace.corrections.read_text() == "sha256,path,was,label,who,why,date\n"
    assert workspace.forgotten.read_text() == "sha256,reason,who,date\n"
    workspace.corrections.write_text("mine\n")
    workspace.forgotten.unlink()
    write_inputs(workspace, params)
    assert (workspace.corrections.read_text(), workspace.forgotten.is_file()) == ("mine\n", True)


def test_what_plan_only_tried_is_gone_again(workspace: Workspace) -> None:
    workspace.corrections.unlink()
    before = workspace.engine.read_bytes()
    with restored(workspace, tentative=True):
        write_inputs(workspace, load_params(workspace.params))
        workspace.engine.write_text("{}")
        assert workspace.corrections.is_file()
    assert not workspace.corrections.exists()
    assert workspace.engine.read_bytes() == before


def memory_of(workspace: Workspace, *rows: tuple[str, str, int]) -> None:
    """Let the state remember (content, label, label_index) as train items."""
    table = [{"sha256": one * 64, "label": label, "label_index": index, "side": "train"} for one, label, index in rows]
    data = table_bytes(pa.Table.from_pylist(table, schema=SPLIT_MEMORY))
    StateRef(workspace.root).write({memory_path(load_params(workspace.params)): data}, "Remember", None)


def order_of(labels: dict[str, str], memory: pa.Table) -> list[str]:
    """The classes of items (content to label) by output index, as split decides it."""
    rows = [{"path": one, "sha256": one * 64, "label": label} for one, label in labels.items()]
    items = item_columns(pa.Table.from_pylist(rows, schema=ITEMS))
    places = dict(zip(items.labels, label_order(items, memory), strict=True))
    return sorted(places, key=lambda label: int(places[label]))


def test_a_renamed_class_keeps_its_output_index(workspace: Workspace) -> None:
    memory_of(workspace, ("a", "ant", 0), ("b", "bee", 1), ("c", "cow", 2))
    params = change_params(workspace, {"data": {"label_aliases": {"ant": "zebra"}}})
    write_inputs(workspace, params)
    memory = read_table(workspace.splits_lock, SPLIT_MEMORY)
    assert order_of({"a": "zebra", "b": "bee", "c": "cow", "d": "ape"}, memory) == ["zebra", "bee", "cow", "ape"]


def test_merged_classes_take_the_first_place_of_theirs(workspace: Workspace) -> None:
    memory_of(workspace, ("a", "ant", 0), ("b", "bee", 1), ("c", "cow", 2))
    write_inputs(workspace, change_params(workspace, {"data": {"label_aliases": {"cow": "insect", "ant": "insect"}}}))
    memory = read_table(workspace.splits_lock, SPLIT_MEMORY)
    assert order_of({"a": "insect", "b": "bee", "c": "insect"}, memory) == ["insect", "bee"]


def test_what_was_forgotten_is_not_remembered_in_the_workspace(workspace: Workspace) -> None:
    memory_of(workspace, ("a", "ant", 0), ("b", "bee", 1))
    write_forgotten(workspace.forgotten, [Forgotten("a" * 64, "asked", "Ada", "2026-11-21")])
    write_inputs(workspace, load_params(workspace.params))
    assert read_table(workspace.splits_lock, SPLIT_MEMORY)["sha256"].to_pylist() == ["b" * 64]


def test_a_memory_of_the_version_before_reaches_split_in_todays(workspace: Workspace) -> None:
    earlier = (Path(__file__).resolve().parents[1] / "golden" / "v1" / "splits.lock").read_bytes()
    params = load_params(workspace.params)
    StateRef(workspace.root).write({memory_path(params): earlier}, "Remember", None)
    write_inputs(workspace, params)
    assert read_table(workspace.splits_lock, SPLIT_MEMORY).num_rows == 40
    assert workspace.splits_lock.read_bytes() != earlier
