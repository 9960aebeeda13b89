"""`graft data forget`: what is meant, what goes, what stays, and that it is completed after any interruption."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from small_workspace import change_params, copy_workspace, run_stages
from traces import traces

from flows import forget as command
from flows.data_commands import add_here
from flows.dvc_commands import dvc_site_cache, ensure_dvc, run_dvc
from flows.forget import complete_forgetting, forget_here
from flows.forget_plan import Known
from flows.inputs import write_inputs
from flows.publish import publish
from tasks.digests import file_sha256
from tasks.errors import DataError
from tasks.overlay import Correction, read_corrections, read_forgotten, write_corrections
from tasks.params import load_params
from tasks.reports import ValidationReport
from tasks.tables import EMBEDDING_INDEX, ITEMS, SPLITS, read_table
from tasks.workspace import Workspace

ITEM = "ember/004.png"


@pytest.fixture(scope="module")
def template(finished_template: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A published small workspace whose raw data are under DVC."""
    workspace = copy_workspace(finished_template, tmp_path_factory.mktemp("forget").resolve() / "template")
    ensure_dvc(workspace)
    publish(workspace, load_params(workspace.params))
    write_inputs(workspace, load_params(workspace.params))
    run_dvc(workspace, "add", "--quiet", "data/raw")
    return workspace


@pytest.fixture
def workspace(template: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.delenv("GRAFT_CACHE_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    return copy_workspace(template, tmp_path.resolve() / "workspace")


def forget(workspace: Workspace, *given: str, **more: object) -> list[str]:
    """What was said; agreed to unless told otherwise."""
    agrees, said = bool(more.pop("agree", True)), list[str]()

    def confirm(summary: str) -> bool:
        said.append(summary)
        return agrees

    forget_here(workspace, given, str(more.pop("reason", "asked by the owner")), "Ada", confirm, said.append, **more)  # type: ignore[arg-type]
    return said


def needles(workspace: Workspace, item: str = ITEM) -> list[bytes]:
    """Path, bytes, sha256 (text and binary) and feature row of an item."""
    content = (workspace.raw / item).read_bytes()
    sha256 = file_sha256(workspace.raw / item)
    place = read_table(workspace.embedding_index, EMBEDDING_INDEX)["path"].to_pylist().index(item)
    row = np.load(workspace.features)[place]
    return [item.encode(), content, sha256.encode(), bytes.fromhex(sha256), row.tobytes()]


def test_nothing_of_the_item_is_left_but_the_tombstone_and_the_state(workspace: Workspace) -> None:
    sought, sha256 = needles(workspace), file_sha256(workspace.raw / ITEM)
    assert len(traces(workspace.root, sought)) > 5, "the search must find what is there"
    mine = Correction(sha256, ITEM, "ember", "ocean", "Bob", "looks cold", "2026-11-20")
    other = Correction("0" * 64, "x.png", "ember", "ocean", "Bob", "looks cold", "2026-11-20")
    write_corrections(workspace.corrections, [mine, other])
    (workspace.private / "runs").mkdir(parents=True, exist_ok=True)
    (workspace.private / "runs" / "1.json").write_text(f'{{"reasons": ["{ITEM}: broken"]}}')

    run_dvc(workspace, "status", "data/raw.dvc")
    remembered = dvc_site_cache(workspace)
    assert traces(remembered, [ITEM.encode()]), "DVC remembers paths outside of the workspace"

    said = "\n".join(forget(workspace, ITEM))

    assert traces(workspace.root, sought) == []
    assert not remembered.exists()
    runs = workspace.root / ".dvc" / "cache" / "runs"
    assert [path for path in runs.rglob("*") if path.is_dir() and not any(path.iterdir())] == []
    assert "Prefect's own logs (PREFECT_HOME" in said
    assert "pages of `graft data check --page`" in said
    assert not workspace.forgetting.exists()
    (row,) = read_forgotten(workspace.forgotten)
    assert (row.sha256, row.reason, row.who) == (sha256, "asked by the owner", "Ada")
    assert read_corrections(workspace.corrections) == [other]
    assert len(list(workspace.raw.rglob("*.png"))) == 39
    assert run_dvc(workspace, "status", "data/raw.dvc").strip() in ("Data and pipelines are up to date.", "{}")
    (release,) = (path.name for path in (workspace.root / "releases").iterdir() if not path.name.startswith("."))
    assert f"releases trained on it:\n  releases/{release} (" in said or "releases tested on it" in said

    params = load_params(workspace.params)
    write_inputs(workspace, params)
    run_stages(workspace, "validate", "embed", "split")
    assert traces(workspace.root, sought) == []
    assert read_table(workspace.items, ITEMS).num_rows == 39


def test_the_same_picture_does_not_come_back_under_any_name(workspace: Workspace, tmp_path: Path) -> None:
    shutil.copytree(workspace.raw, tmp_path / "again")
    forget(workspace, ITEM)
    for name in ("ember/004.png", "ocean/renamed.png"):
        shutil.copy(tmp_path / "again" / ITEM, workspace.raw / name)
    write_inputs(workspace, load_params(workspace.params))
    run_stages(workspace, "validate")
    report = ValidationReport.read(workspace.validation)
    assert (report.listed, report.accepted, report.overlay.forgotten) == (39, 39, 2)
    assert file_sha256(tmp_path / "again" / ITEM) not in report.to_json()


def test_adding_the_same_folder_again_leaves_it_out(workspace: Workspace, tmp_path: Path) -> None:
    folder = tmp_path / "again"
    shutil.copytree(workspace.raw, folder)
    table = "path,label\n" + "".join(f"{path.parent.name}/{path.name},x\n" for path in sorted(folder.rglob("*.png")))
    (folder / "labels.csv").write_text(table)
    sha256 = file_sha256(folder / ITEM)
    forget(workspace, ITEM)
    for expected in ("1 new files", "0 new files"):
        said = add_here(workspace, folder)
        assert said.startswith(expected)
        assert f"; 1 file left out, forgotten before (data/forgotten.csv: {sha256[:12]})" in said
        assert ITEM not in said
    assert not (workspace.raw / ITEM).exists()
    assert ITEM not in (workspace.raw / "labels.csv").read_text()
    assert len((workspace.raw / "labels.csv").read_text().splitlines()) == 40


def test_killed_after_any_step_the_next_call_completes_it(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    sought, steps = needles(workspace), command.STEPS
    for last in range(-1, len(steps)):
        status = killed_after(last, workspace, monkeypatch)
        assert os.WIFSIGNALED(status), f"not killed after step {last}"
        assert os.WTERMSIG(status) == signal.SIGKILL
        assert len(read_forgotten(workspace.forgotten)) == (last >= 0)
        assert workspace.forgetting.is_file()
    said = "\n".join(forget(workspace, ITEM))
    assert "completing the forgetting of 1 item that was interrupted" in said
    assert traces(workspace.root, sought) == []
    assert not workspace.forgetting.exists()
    assert len(read_forgotten(workspace.forgotten)) == 1


def test_the_next_run_completes_what_was_agreed_to(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    sought = needles(workspace)
    killed_after(-1, workspace, monkeypatch)
    said: list[str] = []
    complete_forgetting(workspace, load_params(workspace.params), said.append)
    assert said[0] == "completing the forgetting of 1 item that was interrupted"
    assert traces(workspace.root, sought) == []
    assert complete_forgetting(workspace, load_params(workspace.params), said.append) is None


def killed_after(last: int, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> int:
    """Forget in a child that is killed right after step `last` (-1: before the first); its wait status."""

    def kill(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    steps = [*command.STEPS[: last + 1], ("kill", kill)]
    child = os.fork()
    if child == 0:
        try:
            monkeypatch.setattr(command, "STEPS", steps)
            forget(workspace, ITEM)
        finally:
            os._exit(1)
    return os.waitpid(child, 0)[1]


@pytest.fixture
def known(template: Workspace) -> Known:
    return Known.of(template, load_params(template.params))


@pytest.mark.parametrize("spelled", [ITEM, f"data/raw/{ITEM}", "ABSOLUTE", "DIGEST", "PREFIX"])
def test_an_item_goes_by_its_path_or_its_digest(known: Known, template: Workspace, spelled: str) -> None:
    sha256 = file_sha256(template.raw / ITEM)
    given = {"ABSOLUTE": str(template.raw / ITEM), "DIGEST": sha256, "PREFIX": sha256[:10].upper()}.get(
        spelled, spelled
    )
    (found,) = known.find([given], template.root.parent)
    assert (found.sha256, found.items, found.files) == (sha256, [ITEM], [str(template.raw / ITEM)])


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ("ember/0044.png", r"there is no item 'ember/0044\.png'; did you mean 'ember/004\.png'\?; give its path"),
        ("0123456789", "no item's sha256 begins with 0123456789"),
        ("abc", "there is no item 'abc'; give its path as the reports spell it, or its sha256"),
        (
            "params.yaml",
            r"params\.yaml is no item of the data set, which lies in .*data/raw \(params\.yaml: data\.path",
        ),
    ],
)
def test_what_is_no_item_is_named(known: Known, template: Workspace, given: str, complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        known.find([given], template.root)


def test_a_forgotten_item_goes_by_its_digest_alone(workspace: Workspace) -> None:
    sha256 = file_sha256(workspace.raw / ITEM)
    with pytest.raises(DataError, match=r"there is no item 'typo\.png'.*\(8 digits or more\)$"):
        forget(workspace, "typo.png")
    forget(workspace, ITEM)
    with pytest.raises(DataError, match=r"no item 'ember/004\.png'.*data/forgotten\.csv keeps the sha256 alone"):
        forget(workspace, ITEM)
    assert "forgot 1 item" in "\n".join(forget(workspace, sha256[:10]))
    assert [row.sha256 for row in read_forgotten(workspace.forgotten)] == [sha256]


def test_dry_run_and_a_no_change_nothing(workspace: Workspace) -> None:
    before = {path: path.stat().st_mtime_ns for path in workspace.root.rglob("*") if path.is_file()}
    before.pop(workspace.lock, None)
    forget(workspace, ITEM, dry_run=True)
    forget(workspace, ITEM, agree=False)
    after = {path: path.stat().st_mtime_ns for path in workspace.root.rglob("*") if path.is_file()}
    after.pop(workspace.lock, None)
    assert {path: after.get(path) for path in before} == before
    assert read_forgotten(workspace.forgotten) == []


def test_a_reason_is_needed(workspace: Workspace) -> None:
    with pytest.raises(DataError, match="--reason is empty"):
        forget(workspace, ITEM, reason=" ")


def test_data_outside_the_workspace_are_left_to_their_owner(workspace: Workspace, tmp_path: Path) -> None:
    outside = tmp_path.resolve() / "outside"
    shutil.move(workspace.raw, outside)
    (workspace.root / "data" / "raw.dvc").unlink()
    change_params(workspace, {"data": {"path": str(outside)}})
    said = "\n".join(forget(workspace, ITEM))
    assert f"kept out from now on, but for their owner to delete:\n  {outside / ITEM}" in said
    assert (outside / ITEM).is_file()
    write_inputs(workspace, load_params(workspace.params))
    run_stages(workspace, "validate")
    assert ITEM not in read_table(workspace.items, ITEMS)["path"].to_pylist()


def test_rows_of_a_table_in_the_workspace_go_too(workspace: Workspace) -> None:
    files = sorted(path.relative_to(workspace.raw).as_posix() for path in workspace.raw.rglob("*.png"))
    lines = ["file,label,note\r\n", *(f'{name},{name[:5]},"a, ""b""\n  of {n}"\r\n' for n, name in enumerate(files))]
    (workspace.raw / "labels.csv").write_bytes("".join(lines).encode())
    change_params(workspace, {"data": {"path": "data/raw/labels.csv", "columns": {"path": "file"}}})
    run_dvc(workspace, "add", "--quiet", "data/raw")
    sought = needles(workspace)
    forget(workspace, ITEM)
    assert (workspace.raw / "labels.csv").read_bytes().decode() == "".join(
        li for li in lines if not li.startswith(ITEM)
    )
    assert traces(workspace.root, sought) == []
    write_inputs(workspace, load_params(workspace.params))
    run_stages(workspace, "validate")
    assert ValidationReport.read(workspace.validation).listed == 39


def test_only_its_side_tells_how_a_release_knew_it(workspace: Workspace) -> None:
    table = read_table(workspace.splits, SPLITS)
    sides = dict(zip(table["path"].to_pylist(), table["side"].to_pylist(), strict=True))
    tested = next(path for path, side in sides.items() if side == "test")
    trained = next(path for path, side in sides.items() if side == "train")
    (release,) = (path.name for path in (workspace.root / "releases").iterdir() if not path.name.startswith("."))
    for path, title in ((tested, "releases tested on it:"), (trained, "releases trained on it:")):
        said = forget(workspace, path, dry_run=True)[0]
        assert f"{title}\n  releases/{release} ({sides[path]})" in said
    earlier = workspace.root / "releases" / ("e" * 64)
    earlier.mkdir()
    (earlier / "manifest.json").write_text("{}")
    assert (
        f"unknown for releases published by an earlier Graft:\n  releases/{earlier.name}"
        in forget(workspace, tested, dry_run=True)[0]
    )
