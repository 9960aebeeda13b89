"""What DVC holds of a version is at the remote, all of it and unaltered, or the version does not count as pushed."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest
from publishing_scene import Machine, make_machine, make_remote, no_identity

from flows.dvc_commands import run_dvc
from flows.pushing import push_pending, push_registry
from flows.state import REF
from flows.tracked_data import object_file
from tasks.reports import write_bytes

NIGHT, DAY = "20261121T010000-aaaaaaaa", "20261121T080000-bbbbbbbb"
FILES = {"models/head.bin": b"a head" * 1000, "raw/a.txt": b"ember", "raw/b.txt": b"ocean"}


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A checkout with a file and a folder under DVC, and a folder as DVC's remote."""
    no_identity(monkeypatch, tmp_path)
    machine = make_machine(tmp_path.resolve() / "checkout")
    make_remote(tmp_path.resolve() / "remote.git", machine)
    (machine.root / ".dvc" / "config.local").write_text(
        f"[core]\n    remote = store\n['remote \"store\"']\n    url = {tmp_path.resolve()}/store\n"
    )
    for name, data in FILES.items():
        write_bytes(machine.root / name, data)
    run_dvc(machine.workspace, "add", "models/head.bin", "raw")
    release(machine, "one")
    return machine


def release(machine: Machine, model: str) -> None:
    machine.release(model)
    machine.workspace.dvc_lock.write_text("schema: '2.0'\nstages: {}\n")


def cached(machine: Machine, name: str) -> Path:
    digest = hashlib.md5(FILES[name], usedforsecurity=False).hexdigest()
    return object_file(machine.root / ".dvc" / "cache", digest)


def flip(file: Path) -> None:
    """One bit of a file that DVC takes for protected, as a failing disk does it."""
    mode, data = file.stat().st_mode, bytearray(file.read_bytes())
    data[-1] ^= 1
    file.chmod(0o644)
    file.write_bytes(data)
    file.chmod(mode)


def stored(machine: Machine) -> list[bytes]:
    """Contents of the objects at DVC's remote, without lists of folders."""
    store = machine.root.parent / "store"
    files = [file for file in store.rglob("*") if file.is_file() and not file.name.endswith(".dir")]
    return sorted(file.read_bytes() for file in files)


def remote_has_registry(machine: Machine) -> bool:
    return REF in machine.git("ls-remote", "origin")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("fault", ["deleted", "flipped"])
def test_a_version_with_a_missing_or_altered_object_is_not_pushed_until_it_is_mended(
    machine: Machine, name: str, fault: str
) -> None:
    file = cached(machine, name)
    shutil.copy2(file, machine.root.parent / "kept")
    assert (file.stat().st_mode & 0o777) == 0o444
    if fault == "flipped":
        flip(file)
    else:
        file.unlink()
    ended = machine.publish(NIGHT)
    assert ended.pushed is False
    said = f"DVC's cache holds {name} altered" if fault == "flipped" else "neither DVC's cache nor the remote has"
    assert f"{said}" in str(ended.not_pushed)
    assert name in str(ended.not_pushed)
    assert stored(machine) == []
    assert not remote_has_registry(machine)
    assert push_registry(machine.workspace, machine.params) == "the data of v1 are not at DVC's remote yet"
    file.unlink(missing_ok=True)
    shutil.copy2(machine.root.parent / "kept", file)
    assert push_pending(machine.workspace, machine.params).pushed
    assert stored(machine) == sorted(FILES.values())
    assert remote_has_registry(machine)


def test_an_altered_list_of_a_folders_files_is_not_pushed(machine: Machine) -> None:
    (listed,) = (machine.root / ".dvc" / "cache").rglob("*.dir")
    flip(listed)
    ended = machine.publish(NIGHT)
    assert ended.pushed is False
    assert "DVC's cache holds raw altered" in str(ended.not_pushed)
    assert stored(machine) == []


def test_what_the_remote_has_need_not_be_in_the_cache(machine: Machine) -> None:
    assert machine.publish(NIGHT).pushed
    release(machine, "two")
    shutil.rmtree(machine.root / ".dvc" / "cache" / "files")
    assert machine.publish(DAY).pushed


def test_what_was_lost_at_the_remote_goes_there_again_though_the_folders_list_is_there(machine: Machine) -> None:
    assert machine.publish(NIGHT).pushed
    (lost,) = (
        file
        for file in (machine.root.parent / "store").rglob("*")
        if file.is_file() and file.stat().st_size == 5 and file.read_bytes() == b"ember"
    )
    lost.unlink()
    release(machine, "two")
    assert machine.publish(DAY).pushed
    assert stored(machine) == sorted(FILES.values())


def test_a_lost_object_of_an_old_version_is_told_and_holds_up_no_other(machine: Machine) -> None:
    assert machine.publish(NIGHT).pushed
    shutil.rmtree(machine.root / ".graft" / "pushed")
    shutil.rmtree(machine.root.parent / "store")
    write_bytes(machine.root / "models" / "head.bin", b"another head")
    run_dvc(machine.workspace, "add", "models/head.bin")
    cached(machine, "models/head.bin").unlink()
    release(machine, "two")
    ended = machine.publish(DAY)
    assert ended.pushed is False
    assert "data and models of v1" in str(ended.not_pushed)
    assert "v2" not in str(ended.not_pushed)
    assert f"refs/heads/graft/run/{DAY}" in machine.git("ls-remote", "origin")
    assert stored(machine) == sorted([b"another head", b"ember", b"ocean"])


def test_data_with_a_remote_of_their_own_go_there(machine: Machine) -> None:
    other = machine.root.parent / "other"
    run_dvc(machine.workspace, "remote", "add", "--local", "other", str(other))
    file = machine.root / "raw.dvc"
    file.write_text(file.read_text().replace("  path: raw\n", "  path: raw\n  remote: other\n"))
    assert machine.publish(NIGHT).pushed
    assert stored(machine) == [FILES["models/head.bin"]]
    assert len([one for one in other.rglob("*") if one.is_file()]) == 3


def unset_remote(machine: Machine) -> None:
    (machine.root / ".dvc" / "config.local").unlink()


def test_without_a_remote_of_dvcs_the_data_are_told_to_stay_and_git_to_be_pushed(machine: Machine) -> None:
    unset_remote(machine)
    ended = machine.publish(NIGHT)
    assert ended.pushed is None
    place = machine.root.parent / "remote.git"
    mend = "data and models, as DVC has no remote (`dvc remote add -d NAME URL`)"
    assert ended.not_pushed == f"{mend}; git's part is at origin ({place})"
    assert remote_has_registry(machine)


@pytest.mark.parametrize("where", ["local", "uncommitted", "committed"])
def test_a_remote_added_after_a_version_gets_the_data_of_all(machine: Machine, where: str) -> None:
    unset_remote(machine)
    machine.publish(NIGHT)
    store, option = str(machine.root.parent / "store"), ["--local"] if where == "local" else []
    run_dvc(machine.workspace, "remote", "add", "--default", *option, "store", store)
    if where == "committed":
        machine.git("commit", "--quiet", "--message", "Add a remote", ".dvc/config")
    ended = push_pending(machine.workspace, machine.params)
    assert (ended.pushed, ended.done) == (True, [f"data and models of v1 to DVC's store ({store})"])
    assert stored(machine) == sorted(FILES.values())


def test_a_remote_that_dvc_does_not_know_is_named_with_its_mend(machine: Machine) -> None:
    run_dvc(machine.workspace, "config", "--local", "core.remote", "stroe")
    ended = machine.publish(NIGHT)
    assert ended.pushed is False
    assert "names stroe, which DVC does not know; `dvc remote add stroe URL`" in str(ended.not_pushed)
    assert stored(machine) == []


def test_a_version_that_cannot_be_whole_holds_up_no_later_one(machine: Machine) -> None:
    file = machine.root / "raw.dvc"
    text = file.read_text()
    file.write_text(text.replace("  path: raw\n", "  path: raw\n  remote: other\n"))
    ended = machine.publish(NIGHT)
    assert ended.pushed is False
    assert "raw is to go to a remote of its own, other, which DVC does not know" in str(ended.not_pushed)
    assert "`dvc remote add other URL`" in str(ended.not_pushed)
    assert not remote_has_registry(machine)
    file.write_text(text)
    release(machine, "two")
    ended = machine.publish(DAY)
    assert ended.pushed is False
    assert "data and models of v1" in str(ended.not_pushed)
    assert "v2" not in str(ended.not_pushed)
    assert stored(machine) == sorted(FILES.values())
    assert f"refs/heads/graft/run/{DAY}" in machine.git("ls-remote", "origin")


@pytest.mark.parametrize("left", ["nothing", "an empty mount point"])
def test_a_folder_that_vanished_is_not_made_anew_and_gets_what_it_lacks_when_it_is_back(
    machine: Machine, left: str
) -> None:
    assert machine.publish(NIGHT).pushed
    store, away = machine.root.parent / "store", machine.root.parent / "away"
    store.rename(away)
    if left != "nothing":
        store.mkdir()
    write_bytes(machine.root / "models" / "head.bin", b"another head")
    run_dvc(machine.workspace, "add", "models/head.bin")
    release(machine, "two")
    ended = machine.publish(DAY)
    assert ended.pushed is False
    assert str(ended.not_pushed).count("is not there or empty now; mount it or bring it back") == 1
    assert str(store) in str(ended.not_pushed)
    assert not store.exists() or not any(store.iterdir())
    assert f"refs/heads/graft/run/{DAY}" not in machine.git("ls-remote", "origin")
    shutil.rmtree(store, ignore_errors=True)
    away.rename(store)
    assert push_pending(machine.workspace, machine.params).pushed
    assert stored(machine) == sorted([*FILES.values(), b"another head"])


def test_what_another_folder_took_under_the_same_path_does_not_count(machine: Machine) -> None:
    assert machine.publish(NIGHT).pushed
    store, away = machine.root.parent / "store", machine.root.parent / "away"
    store.rename(away)
    write_bytes(store / "files" / "note", b"another disk")
    write_bytes(machine.root / "models" / "head.bin", b"another head")
    run_dvc(machine.workspace, "add", "models/head.bin")
    release(machine, "two")
    assert machine.publish(DAY).pushed
    assert stored(machine) == sorted([*FILES.values(), b"another head", b"another disk"])
    shutil.rmtree(store)
    away.rename(store)
    assert stored(machine) == sorted(FILES.values())
    assert push_pending(machine.workspace, machine.params).pushed
    assert stored(machine) == sorted([*FILES.values(), b"another head"])
