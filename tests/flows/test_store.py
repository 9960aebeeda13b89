"""The release store: complete before visible, never changed after, safe with several publishers."""

from __future__ import annotations

import errno
import json
import multiprocessing
import shutil
import threading
from pathlib import Path

import pytest

from flows import store as store_module
from flows.store import INCOMING, LOCK, publish_release, stored_release
from tasks.digests import file_sha256, folder_sha256
from tasks.errors import NotQualified, ReleaseError
from tasks.release import QUALIFICATION, manifest_sha256, verify_release
from tasks.reports import Verdict, write_bytes
from tasks.reports.estimate import Estimate
from tasks.reports.manifest import Manifest, ReleaseMetrics, SourceDigests
from tasks.reports.qualification import Check, Qualification
from tasks.reports.verdict import JudgedDigests

ESTIMATE = Estimate(value=1.0, low=0.9, high=1.0, method="made up")


def make_release(folder: Path, model: bytes = b"model") -> Path:
    """A whole release of made-up content, and its qualification beside it."""
    release = folder / "release"
    write_bytes(release / "model.onnx", model)
    write_bytes(release / "golden" / "golden.json", b"{}")
    blank = dict.fromkeys(JudgedDigests.model_fields, "0")
    Manifest(
        name="made-up",
        graft_version="0",
        files={name: file_sha256(release / name) for name in ("model.onnx", "golden/golden.json")},
        digests=SourceDigests(**dict.fromkeys(SourceDigests.model_fields, "0")),
        metrics=ReleaseMetrics(test_items=1, accuracy=ESTIMATE, macro_f1=ESTIMATE),
        verdict=Verdict(passed=True, rules=[], reasons=[], digests=JudgedDigests(**blank)),
    ).write(release / "manifest.json")
    qualify(release)
    return release


def qualify(release: Path, passed: bool = True) -> Path:
    checks = [Check(check="parity", passed=passed, detail="2 top-1 flips")]
    path = release.parent / "qualification.json"
    Qualification(passed=passed, manifest_sha256=manifest_sha256(release), checks=checks).write(path)
    return path


def publish(release: Path, store: Path) -> Path:
    return publish_release(release, release.parent / "qualification.json", store)


def visible(store: Path) -> list[str]:
    """What a server sees in the store."""
    return sorted(path.name for path in store.iterdir() if not path.name.startswith("."))


def test_a_published_release_is_named_by_its_manifest_and_whole(tmp_path: Path) -> None:
    release = make_release(tmp_path)
    stored = publish(release, tmp_path / "store")
    assert stored == stored_release(tmp_path / "store", manifest_sha256(release))
    assert verify_release(stored, beside=(QUALIFICATION,)).name == "made-up"
    assert Qualification.read(stored / QUALIFICATION).manifest_sha256 == stored.name
    assert {path.name for path in (tmp_path / "store").iterdir()} == {LOCK, stored.name}


def test_publishing_twice_gives_the_same_folder_untouched(tmp_path: Path) -> None:
    release = make_release(tmp_path)
    first = publish(release, tmp_path / "store")
    inodes = {path: path.stat().st_ino for path in first.rglob("*")}
    assert publish(release, tmp_path / "store") == first
    assert {path: path.stat().st_ino for path in first.rglob("*")} == inodes


def test_another_release_stands_beside_the_earlier_one(tmp_path: Path) -> None:
    one = publish(make_release(tmp_path / "a", b"one"), tmp_path / "store")
    digest = folder_sha256(one)
    two = publish(make_release(tmp_path / "b", b"two"), tmp_path / "store")
    assert visible(tmp_path / "store") == sorted([one.name, two.name])
    assert folder_sha256(one) == digest


def test_a_release_that_did_not_qualify_is_refused_with_its_reasons(tmp_path: Path) -> None:
    release = make_release(tmp_path)
    qualify(release, passed=False)
    with pytest.raises(NotQualified, match=r"^parity: 2 top-1 flips$"):
        publish(release, tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_the_qualification_of_another_release_is_refused(tmp_path: Path) -> None:
    release, other = make_release(tmp_path / "a"), make_release(tmp_path / "b", b"other")
    with pytest.raises(NotQualified, match="of another release"):
        publish_release(release, other.parent / "qualification.json", tmp_path / "store")
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("fault", ["altered", "missing", "added", "linked", "manifest"])
def test_a_damaged_release_is_refused(tmp_path: Path, fault: str) -> None:
    release = make_release(tmp_path)
    model = release / "model.onnx"
    if fault == "altered":
        model.write_bytes(b"Model")
    elif fault == "missing":
        model.unlink()
    elif fault == "added":
        (release / "notes.txt").write_text("mine")
    elif fault == "linked":
        shutil.copy(model, tmp_path / "elsewhere")
        model.unlink()
        model.symlink_to(tmp_path / "elsewhere")
    else:
        (release / "manifest.json").unlink()
    with pytest.raises(ReleaseError, match=r"model\.onnx|notes\.txt|manifest\.json"):
        publish(release, tmp_path / "store")
    assert not (tmp_path / "store").exists()


def fail_at(monkeypatch: pytest.MonkeyPatch, name: str, error: BaseException) -> None:
    """Writing the file of that name into the store fails halfway."""

    def write(path: Path, data: bytes) -> None:
        if path.name == name:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.with_suffix(".tmp").write_bytes(data[:2])
            raise error
        write_bytes(path, data)

    monkeypatch.setattr(store_module, "write_bytes", write)


@pytest.mark.parametrize("name", ["golden.json", "model.onnx", "manifest.json", QUALIFICATION])
def test_a_full_disk_leaves_nothing_visible_and_the_earlier_release_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    earlier = publish(make_release(tmp_path / "a", b"earlier"), tmp_path / "store")
    digest, release = folder_sha256(earlier), make_release(tmp_path / "b", b"new")
    fail_at(monkeypatch, name, OSError(errno.ENOSPC, "No space left on device"))
    with pytest.raises(
        ReleaseError, match=r"could not be copied into .*No space left on device; nothing was published"
    ):
        publish(release, tmp_path / "store")
    assert sorted(path.name for path in (tmp_path / "store").iterdir()) == sorted([LOCK, earlier.name])
    assert folder_sha256(earlier) == digest
    monkeypatch.undo()
    assert publish(release, tmp_path / "store").is_dir()


def test_what_a_killed_publisher_left_is_never_visible_and_is_cleared_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = make_release(tmp_path)
    fail_at(monkeypatch, "model.onnx", KeyboardInterrupt())
    monkeypatch.setattr(store_module.shutil, "rmtree", lambda *arguments, **options: None)
    with pytest.raises(KeyboardInterrupt):
        publish(release, tmp_path / "store")
    monkeypatch.undo()
    assert [path for path in (tmp_path / "store").iterdir() if path.name.startswith(INCOMING)]
    assert visible(tmp_path / "store") == []
    stored = publish(release, tmp_path / "store")
    assert {path.name for path in (tmp_path / "store").iterdir()} == {LOCK, stored.name}


@pytest.mark.parametrize("fault", ["model.onnx", "golden/golden.json", QUALIFICATION])
def test_a_damaged_copy_in_the_store_is_refused_with_the_mend(tmp_path: Path, fault: str) -> None:
    release = make_release(tmp_path)
    stored = publish(release, tmp_path / "store")
    (stored / fault).unlink()
    with pytest.raises(ReleaseError, match=rf"{fault}.*; move {stored} away and run `graft adapt`"):
        publish(release, tmp_path / "store")
    stored.rename(tmp_path / "away")
    assert (publish(release, tmp_path / "store") / fault).is_file()


def test_a_qualification_in_the_store_that_is_of_another_release_is_refused(tmp_path: Path) -> None:
    release = make_release(tmp_path)
    stored = publish(release, tmp_path / "store")
    document = json.loads((stored / QUALIFICATION).read_text())
    (stored / QUALIFICATION).write_text(json.dumps({**document, "manifest_sha256": "0" * 64}))
    with pytest.raises(ReleaseError, match="is not this release's"):
        publish(release, tmp_path / "store")


def test_a_store_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("a file stands here")
    with pytest.raises(ReleaseError, match=rf"could not be copied into {tmp_path / 'store'}"):
        publish(make_release(tmp_path), tmp_path / "store")


def test_a_publisher_waits_for_another_and_leaves_its_half_copied_folder_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = make_release(tmp_path / "a", b"one"), make_release(tmp_path / "b", b"two")
    halfway, go_on, stored = threading.Event(), threading.Event(), []

    def slow_write(path: Path, data: bytes) -> None:
        if data == b"one":
            halfway.set()
            assert go_on.wait(20)
        write_bytes(path, data)

    monkeypatch.setattr(store_module, "write_bytes", slow_write)
    first = threading.Thread(target=lambda: stored.append(publish(one, tmp_path / "store")))
    second = threading.Thread(target=lambda: stored.append(publish(two, tmp_path / "store")))
    first.start()
    assert halfway.wait(20)
    second.start()
    second.join(0.3)
    assert second.is_alive()
    assert visible(tmp_path / "store") == []
    go_on.set()
    first.join(20)
    second.join(20)
    assert visible(tmp_path / "store") == sorted(path.name for path in stored)
    assert len(stored) == 2


def test_processes_that_publish_one_release_at_once_make_one_folder(tmp_path: Path) -> None:
    release = make_release(tmp_path)
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        stored = pool.starmap(publish, [(release, tmp_path / "store")] * 6)
    assert set(stored) == {stored_release(tmp_path / "store", manifest_sha256(release))}
    assert {path.name for path in (tmp_path / "store").iterdir()} == {LOCK, stored[0].name}
