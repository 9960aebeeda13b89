"""`graft rollback`: to what was in production before, never to what does not hold."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from registry_scene import Scene, environment, make_scene

from flows.prod_pointer import read_prod
from flows.stage_history import to_fall_back_to
from tasks.errors import ReleaseError, UserError

WITHOUT = """
import sys

class Missing:
    names = {"torch", "torchvision", "lightning_fabric", "prefect", "dvc", "gto", "great_expectations", "optuna",
             "sklearn", "scipy", "pandas", "pyarrow", "matplotlib"}
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ImportError(f"{name} is not to be imported")

sys.meta_path.insert(0, Missing())
sys.argv = ["graft", "rollback", "--reason", "it was wrong"]
from flows.cli import main
main()
"""


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """Three versions, promoted one after the other."""
    scene = make_scene(tmp_path.resolve())
    for seed in (1, 2, 3):
        scene.publish(seed)
        scene.promote(f"v{seed}")
    return scene


def live(scene: Scene) -> int:
    shown = read_prod(scene.store)
    assert shown is not None
    assert shown.manifest_sha256 == scene.history()[-1].manifest_sha256
    return shown.version


def damage(scene: Scene, version: int) -> None:
    change = next(change for change in scene.history() if change.version == version)
    (scene.store / change.manifest_sha256 / "model.onnx").write_bytes(b"other")


def test_it_goes_back_to_the_version_before_and_keeps_who_and_why(scene: Scene) -> None:
    change = scene.rollback()
    assert (change.action, change.number, change.version, change.previous) == ("rollback", 4, 2, 3)
    assert (change.actor, change.reason, change.forced) == ("Ben", "it was wrong", False)
    assert scene.history()[-1] == change
    assert live(scene) == 2


def test_a_second_rollback_goes_further_back_and_not_to_what_was_left_before(scene: Scene) -> None:
    scene.rollback()
    scene.rollback()
    assert live(scene) == 1
    with pytest.raises(
        UserError, match=r"no earlier version in production to go back to \(v2, v3 were rolled back from"
    ):
        scene.rollback()


def test_after_a_new_promotion_the_way_back_leads_over_what_it_took_over_from(scene: Scene) -> None:
    scene.rollback("v1")
    scene.publish(4)
    scene.promote("v4")
    assert [change.version for change in to_fall_back_to(scene.history())] == [1]
    scene.rollback()
    assert live(scene) == 1


def test_a_version_that_was_promoted_twice_is_gone_back_over_once(scene: Scene) -> None:
    scene.promote("v1", force=True)
    assert [change.version for change in to_fall_back_to(scene.history())] == [3, 2]


def test_any_version_that_was_in_production_can_be_named_even_one_that_was_left(scene: Scene) -> None:
    scene.rollback("v1")
    assert live(scene) == 1
    scene.rollback("v3.0.0")
    assert live(scene) == 3


def test_what_is_in_production_already_is_left_as_it_is(scene: Scene) -> None:
    assert scene.rollback("v3") == scene.history()[-1]
    assert len(scene.history()) == 3


def test_a_version_that_was_never_in_production_is_to_be_promoted_instead(scene: Scene) -> None:
    scene.publish(4)
    with pytest.raises(UserError, match="v4 was never in production; `graft promote v4 --reason"):
        scene.rollback("v4")


def test_without_a_history_there_is_nothing_to_go_back_to(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing was ever in production"):
        make_scene(tmp_path.resolve()).rollback()


def test_a_damaged_earlier_release_is_refused_and_the_next_one_that_holds_is_named(scene: Scene) -> None:
    damage(scene, 2)
    with pytest.raises(
        ReleaseError, match=r"v2 is not gone back to: .*altered.*; v1, which was .* holds: `graft rollback v1"
    ):
        scene.rollback()
    assert live(scene) == 3
    scene.rollback("v1")
    assert live(scene) == 1


def test_where_nothing_holds_that_is_said(scene: Scene) -> None:
    damage(scene, 1)
    damage(scene, 2)
    with pytest.raises(ReleaseError, match="no other release that was in production before holds in this store"):
        scene.rollback()
    assert live(scene) == 3


def test_going_back_needs_nothing_of_what_trains(scene: Scene) -> None:
    """At three in the morning the quickest way back must not hang on a heavy or broken library."""
    subprocess.run(["git", "remote", "add", "origin", str(scene.folder / "gone")], cwd=scene.root, check=True)
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT], cwd=scene.root, env=environment(), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert live(scene) == 2
    assert done.stdout.startswith("v2 is in production in place of v3")
    assert "not pushed: pyarrow is not to be imported; `graft push` tells git's remote origin" in done.stderr
