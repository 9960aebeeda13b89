"""`graft data forget` where names are odd, files are broken or of an earlier Graft, or DVC tracks things singly."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from small_workspace import change_params, copy_workspace
from traces import traces

from flows.data_commands import add_here
from flows.dvc_commands import ensure_dvc, run_dvc
from flows.erasure import DvcCache, forget_results
from flows.forget import complete_forgetting, forget_here
from flows.forget_plan import Known
from flows.tracked_data import file_md5
from tasks.digests import file_sha256
from tasks.errors import DataError, StageInputError
from tasks.log_lines import LogLine, json_line
from tasks.overlay import read_forgotten
from tasks.params import load_params
from tasks.tables import ITEMS, read_table
from tasks.workspace import Workspace

ITEM = "ember/004.png"
ODD = 'ember/Kätzchen "4" \'n.png'
EARLIER = Path(__file__).resolve().parents[1] / "golden" / "v1" / "items.parquet"


@pytest.fixture
def workspace(finished_template: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.delenv("GRAFT_CACHE_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    return copy_workspace(finished_template, tmp_path.resolve() / "workspace")


def forget(workspace: Workspace, item: str = ITEM, dry_run: bool = False) -> str:
    said: list[str] = []

    def agree(summary: str) -> bool:
        said.append(summary)
        return True

    forget_here(workspace, [item], "asked by the owner", "Ada", agree, said.append, dry_run)
    return "\n".join(said)


def test_logs_that_escape_a_name_go_and_others_stay(workspace: Workspace) -> None:
    (workspace.raw / ITEM).rename(workspace.raw / ODD)
    runs = workspace.private / "runs"
    runs.mkdir(parents=True, exist_ok=True)
    told = json_line(LogLine(f"{ODD} is cut short"), "1", "validate", "0")
    assert ODD not in told, "a log escapes the letter and the quote"
    (runs / "1.log").write_text(told)
    (runs / "2.json").write_text(json.dumps({"reasons": [f"{ODD}: broken"]}, ensure_ascii=False))
    (runs / "3.log").write_text(json_line(LogLine("ember/005.png is cut short"), "3", "validate", "0"))
    (runs / "4.log").write_text(json_line(LogLine(f"{ODD!r} is cut short"), "4", "validate", "0"))
    forget(workspace, ODD)
    assert sorted(path.name for path in runs.iterdir()) == ["3.log"]


def test_a_dry_run_sets_nothing_up_and_mends_nothing(workspace: Workspace) -> None:
    shutil.rmtree(workspace.root / ".dvc", ignore_errors=True)
    draft = workspace.root / "reports" / ".half.json.999999.tmp"
    draft.write_text("half")
    before = {path: path.stat().st_mtime_ns for path in workspace.root.rglob("*")}
    assert forget(workspace, dry_run=True).endswith("nothing was done (--dry-run)")
    assert {path: path.stat().st_mtime_ns for path in workspace.root.rglob("*")} == before


def test_an_unreadable_note_of_an_interruption_says_how_to_go_on(workspace: Workspace) -> None:
    workspace.forgetting.parent.mkdir(parents=True, exist_ok=True)
    workspace.forgetting.write_text('{"given": [')
    for call in (
        lambda: forget(workspace),
        lambda: complete_forgetting(workspace, load_params(workspace.params), print),
    ):
        with pytest.raises(StageInputError, match=r"delete \.graft/forgetting\.json and forget the same items again"):
            call()
    assert (workspace.raw / ITEM).is_file()
    workspace.forgetting.unlink()
    assert "forgot 1 item" in forget(workspace)


def test_a_table_that_cannot_be_read_stops_it_before_anything_is_done(workspace: Workspace) -> None:
    (workspace.raw / "labels.csv").write_bytes(f"path,label\n{ITEM},K\xe4tzchen\n".encode("latin-1"))
    change_params(workspace, {"data": {"path": "data/raw/labels.csv"}})
    for dry_run in (True, False):
        with pytest.raises(DataError, match=r"labels\.csv may name an item to be forgotten .*; save it as UTF-8"):
            forget(workspace, dry_run=dry_run)
    assert (workspace.raw / ITEM).is_file()
    assert not workspace.forgetting.exists()
    assert read_forgotten(workspace.forgotten) == []


def test_adding_a_folder_whose_table_may_name_a_forgotten_file_is_refused(workspace: Workspace, tmp_path: Path) -> None:
    shutil.copytree(workspace.raw, tmp_path / "again")
    (tmp_path / "again" / "labels.csv").write_bytes(f"path,label\n{ITEM},K\xe4tzchen\n".encode("latin-1"))
    forget(workspace)
    with pytest.raises(DataError, match=r"again/labels\.csv may name an item .*; save it as UTF-8"):
        add_here(workspace, tmp_path / "again")
    assert not (workspace.raw / "labels.csv").exists()


def test_a_listing_of_an_earlier_graft_tells_what_there_is(workspace: Workspace) -> None:
    shutil.copy(EARLIER, workspace.items)
    row = read_table(workspace.items, ITEMS).to_pylist()[0]
    (workspace.raw / row["path"]).unlink(missing_ok=True)
    (found,) = Known.of(workspace, load_params(workspace.params)).find([row["path"]], workspace.root)
    assert (found.sha256, found.items) == (row["sha256"], [row["path"]])


def test_an_unreadable_listing_is_not_taken_for_an_empty_one(workspace: Workspace) -> None:
    workspace.items.write_bytes(b"PAR1")
    with pytest.raises(StageInputError, match=r"items\.parquet is not a readable .*; run `graft adapt`"):
        forget(workspace)
    workspace.items.unlink()
    sha256 = file_sha256(workspace.raw / ITEM)
    assert "forgot 1 item" in forget(workspace)
    assert [row.sha256 for row in read_forgotten(workspace.forgotten)] == [sha256]


def test_a_file_that_dvc_tracks_singly_leaves_its_gitignore_line_too(workspace: Workspace) -> None:
    ensure_dvc(workspace)
    for item in (ITEM, "ember/006.png"):
        run_dvc(workspace, "add", "--quiet", f"data/raw/{item}")
    ignored = workspace.raw / "ember" / ".gitignore"
    assert ignored.read_text().split() == ["/004.png", "/006.png"]
    forget(workspace)
    assert ignored.read_text().split() == ["/006.png"]
    assert traces(workspace.root, [b"004.png"]) == []


def test_what_a_dvc_file_anywhere_tracks_keeps_its_cached_copies(workspace: Workspace) -> None:
    ensure_dvc(workspace)
    mine = workspace.root / "notes" / "deep" / "kept"
    mine.mkdir(parents=True)
    shutil.copy(workspace.items, mine / "items.parquet")
    shutil.copy(workspace.split_report, mine.parent / "single.json")
    run_dvc(workspace, "add", "--quiet", "notes/deep/kept", "notes/deep/single.json")
    made = {"data/items.parquet": file_md5(workspace.items), "reports/split.json": file_md5(workspace.split_report)}
    outs = "".join(f"    - path: {path}\n      md5: {md5}\n" for path, md5 in made.items())
    workspace.dvc_lock.write_text(
        f"schema: '2.0'\nstages:\n  validate:\n    cmd: python -m tasks.validate\n    outs:\n{outs}"
    )
    cache = DvcCache.of(workspace)
    forget_results(workspace, cache)
    assert all(cache.object(md5).is_file() for md5 in made.values())
    assert not workspace.items.exists()
