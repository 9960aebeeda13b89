"""Following a pointer: what is tried, when again, and what leaves everything as it was."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from release_scene import add_release, point
from small_release import truncate

from deploy.model import Model, load_model
from deploy.pointers import (
    LONGEST_PAUSE_SECONDS,
    MOST_TRIES,
    Follower,
    RefusedRelease,
    UnreadablePointer,
    read_pointer,
)
from tasks.errors import ReleaseError
from tasks.reports.prod_pointer import ProdPointer


class Watched:
    """A follower of `prod` whose clock stands still until it is moved, and that counts what it tries."""

    def __init__(self, store: Path) -> None:
        self.store, self.now, self.tries = store, 0.0, 0
        self.fault: Callable[[], None] = lambda: None
        self.follower = Follower(store, "prod", self._load, None, (), 1.0, lambda: self.now)

    def _load(self, pointer: ProdPointer) -> Model:
        self.tries += 1
        self.fault()
        return load_model(self.store / pointer.manifest_sha256, str(pointer.version), pointer.manifest_sha256)

    def look(self) -> Model | None:
        pointer = self.follower.named()
        assert pointer is not None
        return self.follower.change(pointer)


@pytest.fixture
def watched(store: Path) -> Watched:
    return Watched(store)


def test_a_release_is_loaded_once_and_again_when_the_pointer_names_another(watched: Watched) -> None:
    first = watched.look()
    assert first is not None
    assert (first.version, watched.look(), watched.tries) == ("1", None, 1)
    point(watched.store, add_release(watched.store, 1), 2)
    second = watched.look()
    assert second is not None
    assert (second.version, watched.look(), watched.tries) == ("2", None, 2)
    assert second.digest != first.digest


def test_a_version_that_got_another_number_is_not_loaded_again(watched: Watched) -> None:
    first = watched.look()
    assert first is not None
    point(watched.store, first.digest, 5, number=9)
    renamed = watched.look()
    assert renamed is not None
    assert (renamed.version, renamed.opened is first.opened, watched.tries) == ("5", True, 1)
    assert watched.look() is None


def test_a_refused_release_is_not_tried_again_while_nothing_changes(watched: Watched) -> None:
    assert watched.look()
    bad = add_release(watched.store, 1)
    truncate(watched.store / bad)
    point(watched.store, bad, 2)
    with pytest.raises(RefusedRelease, match=r"model\.onnx was altered or truncated") as caught:
        watched.look()
    assert caught.value.pointer.version == 2
    for _ in range(20):
        watched.now += 100
        assert watched.look() is None
    assert watched.tries == 2
    assert watched.follower.present is not None
    assert watched.follower.present.version == "1"


def test_a_pointer_that_is_written_again_is_another_try(watched: Watched) -> None:
    bad = add_release(watched.store, 1)
    truncate(watched.store / bad)
    for number in (2, 3):
        point(watched.store, bad, 2, number=number)
        with pytest.raises(RefusedRelease):
            watched.look()
    assert watched.tries == 2


def test_a_folder_that_is_still_being_copied_is_tried_again_when_it_rests(watched: Watched, tmp_path: Path) -> None:
    digest = add_release(watched.store, 1)
    whole = watched.store / digest
    shutil.move(whole, tmp_path / "whole")
    point(watched.store, digest, 2)
    with pytest.raises(RefusedRelease):
        watched.look()
    for file in sorted((tmp_path / "whole").rglob("*")):
        if file.is_file():
            watched.now += 1
            target = whole / file.relative_to(tmp_path / "whole")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)
            assert watched.look() is None
    watched.now += 1
    model = watched.look()
    assert model is not None
    assert (model.version, watched.tries) == ("2", 2)


def test_a_folder_that_changes_and_stays_bad_is_tried_ever_more_rarely(watched: Watched) -> None:
    bad = add_release(watched.store, 1)
    truncate(watched.store / bad)
    point(watched.store, bad, 2)
    with pytest.raises(RefusedRelease):
        watched.look()
    tries = []
    for second in range(1, 400):
        watched.now = float(second)
        if second % 2:
            os.utime(watched.store / bad / "model.onnx", ns=(0, second))
        try:
            watched.look()
        except RefusedRelease:
            tries.append(second)
    pauses = [after - before for before, after in pairwise(tries)]
    assert pauses[:4] == [2, 4, 8, 16]
    assert max(pauses) <= LONGEST_PAUSE_SECONDS + 2


def test_what_could_not_be_read_is_tried_a_few_times_without_any_change(watched: Watched) -> None:
    def fault() -> None:
        raise OSError(5, "Input/output error")

    watched.fault = fault
    refused = []
    for second in range(1000):
        watched.now = float(second)
        try:
            watched.look()
        except RefusedRelease as err:
            refused.append(str(err))
    assert len(refused) == watched.tries == MOST_TRIES
    assert "Input/output error" in refused[0]
    watched.fault = lambda: None
    assert watched.look() is None
    point(watched.store, read(watched.store).manifest_sha256, 1, number=2)
    assert watched.look()


def read(store: Path) -> ProdPointer:
    found = read_pointer(store / "prod")
    assert found is not None
    return found


def test_an_unreadable_pointer_is_told_once_and_what_it_named_stays(watched: Watched) -> None:
    assert watched.look()
    (watched.store / "prod").write_text("{")
    with pytest.raises(
        UnreadablePointer,
        match="prod holds nothing that names a release of this Graft; move it away, and `graft history`",
    ):
        watched.follower.named()
    for _ in range(3):
        assert watched.look() is None
    assert watched.tries == 1


def test_a_disk_that_falters_while_the_pointer_is_read_delays_a_change_and_loses_none(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert watched.look()
    point(watched.store, add_release(watched.store, 1), 2)
    read_bytes = Path.read_bytes

    def failing(file: Path) -> bytes:
        if file.name == "prod":
            raise OSError(116, "Stale file handle")
        return read_bytes(file)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", failing)
        with pytest.raises(UnreadablePointer, match="Stale file handle"):
            watched.look()
        assert [watched.look() for _ in range(3)] == [None] * 3
    model = watched.look()
    assert model is not None
    assert model.version == "2"


def test_a_file_beside_the_release_that_changed_is_another_try(watched: Watched, tmp_path: Path) -> None:
    key = tmp_path / "key.pub"
    key.write_text("old")
    watched.follower = Follower(watched.store, "prod", watched._load, None, [key], 1.0, lambda: watched.now)
    faults = ["is not signed by a trusted key"]

    def fault() -> None:
        if faults:
            raise ReleaseError(faults[0])

    watched.fault = fault
    with pytest.raises(RefusedRelease, match="trusted key"):
        watched.look()
    assert not watched.follower.served
    for _ in range(5):
        watched.now += 100
        assert watched.look() is None
    faults.clear()
    key.write_text("old and new")
    found = [watched.look() for watched.now in (1000.0, 1001.0)]  # it changed; it rests
    assert found[0] is None
    assert found[1] is not None
    assert watched.follower.served
    assert watched.tries == 2


def test_a_shadow_that_names_nothing_is_told_with_its_own_mend(tmp_path: Path) -> None:
    (tmp_path / "shadow").write_text("{}")
    with pytest.raises(UnreadablePointer, match=r"`graft shadow --off` takes it away") as caught:
        read_pointer(tmp_path / "shadow")
    assert "pydantic" not in str(caught.value)


@pytest.mark.parametrize("kind", ["fifo", "folder", "large", "foreign"])
def test_what_is_no_pointer_is_not_read(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "prod"
    if kind == "fifo":
        os.mkfifo(file)
    elif kind == "folder":
        file.mkdir()
    elif kind == "large":
        file.write_bytes(b" " * 10_000_000)
    else:
        file.write_text('{"schema_version": 2, "number": 1, "version": 1, "manifest_sha256": "../../etc"}')
    with pytest.raises(UnreadablePointer):
        read_pointer(file)


def test_there_may_be_no_pointer(tmp_path: Path) -> None:
    assert read_pointer(tmp_path / "prod") is None
