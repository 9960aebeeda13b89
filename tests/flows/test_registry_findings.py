"""What `graft doctor` says of locks that git left and of production, and that the mend it names mends it."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest
from registry_scene import Scene, make_scene
from run_scene import git

from flows.prod_pointer import write_prod
from flows.registry_findings import git_locks, production


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return make_scene(tmp_path.resolve())


def lock(scene: Scene, name: str, seconds_old: float) -> Path:
    path = scene.root / ".git" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("")
    now = path.stat().st_mtime
    os.utime(path, (now - seconds_old, now - seconds_old))
    return path


@pytest.mark.parametrize("name", ["refs/graft/state.lock", "refs/heads/graft/run/one.lock", "packed-refs.lock"])
def test_a_lock_that_a_killed_git_left_on_refs_is_named_with_a_mend_that_mends(scene: Scene, name: str) -> None:
    assert git_locks(scene.workspace).state == "ok"
    path = lock(scene, name, 70)
    found = git_locks(scene.workspace)
    assert found.state == "wrong"
    assert f": {name};" in found.detail
    subprocess.run(shlex.split(found.mend.partition(": ")[2]), check=True)
    assert not path.exists()
    assert git_locks(scene.workspace).state == "ok"


def test_a_young_lock_is_a_git_at_work_and_an_old_one_of_the_index_stops_no_run(scene: Scene) -> None:
    lock(scene, "refs/graft/state.lock", 20)
    assert git_locks(scene.workspace).state == "ok"
    lock(scene, "index.lock", 70)
    found = git_locks(scene.workspace)
    assert found.state == "note"
    assert "index.lock" in found.detail


def test_production_in_step_with_its_history_is_well(scene: Scene) -> None:
    assert production(scene.workspace).detail == "nothing was promoted yet"
    scene.publish(1)
    scene.promote("v1")
    assert (production(scene.workspace).state, production(scene.workspace).mend) == ("ok", "")


def test_a_pointer_behind_its_history_is_completed_by_the_mend(scene: Scene) -> None:
    for number in (1, 2):
        scene.publish(number)
        scene.promote(f"v{number}")
    write_prod(scene.store, scene.history()[0])
    found = production(scene.workspace)
    assert found.state == "note"
    assert "shows v1 (change 1), the history ends with v2 (change 2)" in found.detail
    assert scene.graft(*found.mend.split("`")[1].split()[1:]).returncode == 0
    assert production(scene.workspace).state == "ok"


def test_a_pointer_that_the_history_does_not_know_is_wrong(scene: Scene) -> None:
    scene.publish(1)
    change = scene.promote("v1")
    write_prod(scene.store, change.model_copy(update={"number": 7, "version": 9, "manifest_sha256": "f" * 64}))
    found = production(scene.workspace)
    assert found.state == "wrong"
    assert "shows v9 (change 7), which the history here does not know; it ends with v1 (change 1)" in found.detail
    git(scene.root, "update-ref", "-d", "refs/graft/state")
    assert "it ends with nothing" in production(scene.workspace).detail


def test_a_pointer_that_cannot_be_read_or_whose_release_is_gone_is_wrong(scene: Scene) -> None:
    scene.publish(1)
    change = scene.promote("v1")
    (scene.store / change.manifest_sha256).rename(scene.folder / "away")
    found = production(scene.workspace)
    assert found.state == "wrong"
    assert f"does not hold its release {change.manifest_sha256[:12]}" in found.detail
    (scene.store / "prod").write_text("{")
    found = production(scene.workspace)
    assert found.state == "wrong"
    assert "graft history" in found.mend
