"""What `graft gc` must leave in a store, by the history of production."""

from __future__ import annotations

from pathlib import Path

import pytest
from registry_scene import Scene, estimate, make_scene

from flows import stage_change
from flows.live_releases import reasons_to_stay, stored_releases
from flows.stage_history import to_fall_back_to


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """Five versions, promoted one after the other; the newest two of the store are none of them."""
    scene = make_scene(tmp_path.resolve())
    for seed in range(1, 6):
        scene.publish(seed)
        scene.promote(f"v{seed}")
    for seed in (6, 7):
        scene.publish(seed)
    return scene


def kept(scene: Scene) -> dict[int, str]:
    """Why versions that were in production stay, by version."""
    numbers = {change.manifest_sha256: change.version for change in scene.history()}
    reasons = reasons_to_stay(scene.workspace, scene.store)
    return {numbers[digest]: reason for digest, reason in reasons.items() if digest in numbers}


def test_production_and_what_a_rollback_would_go_to_stay(scene: Scene) -> None:
    assert kept(scene) == {5: "prod names it", 4: "the one before what prod names, to fall back to"}


def test_after_a_rollback_it_is_the_next_earlier_one_that_stays_and_not_what_was_left(scene: Scene) -> None:
    scene.rollback()
    assert set(kept(scene)) == {4, 3}
    scene.rollback("v2")
    assert set(kept(scene)) == {2, 1}
    assert [change.version for change in to_fall_back_to(scene.history())] == [1]


def test_where_the_one_before_is_gone_the_one_before_that_stays(scene: Scene) -> None:
    gone = scene.history()[3].manifest_sha256
    (scene.store / gone).rename(scene.folder / "away")
    assert set(kept(scene)) == {5, 3}


def test_an_interrupted_change_keeps_what_it_was_to_put_into_production(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(stage_change, "write_prod", stop)
    with pytest.raises(KeyboardInterrupt):
        scene.rollback("v1")
    assert kept(scene)[1] == "the history of production ends with it"
    assert set(kept(scene)) == {1, 5, 4}


def test_the_most_accurate_version_that_was_in_production_stays_however_long_ago(tmp_path: Path) -> None:
    scene = make_scene(tmp_path.resolve())
    for seed, accuracy in enumerate([0.7, 0.9, 0.8, 0.75, 0.74], start=1):
        scene.publish(seed, accuracy=estimate(accuracy))
        scene.promote(f"v{seed}")
    for seed in (6, 7):
        scene.publish(seed, promotable=False)
    assert kept(scene) == {
        5: "prod names it",
        4: "the one before what prod names, to fall back to",
        2: "the most accurate version that was in production: runs are compared with it",
    }


def test_what_waits_for_a_promotion_stays_until_another_takes_over(tmp_path: Path) -> None:
    scene = make_scene(tmp_path.resolve())
    waiting = scene.publish(1).manifest_sha256
    for seed in (2, 3):
        scene.publish(seed, promotable=False, outcome="incomparable")
    said = "its verdict is about what is live: it can be promoted"
    assert reasons_to_stay(scene.workspace, scene.store)[waiting] == said
    scene.promote("v2", force=True)
    assert reasons_to_stay(scene.workspace, scene.store).get(waiting) != said
    better, equivalent, worse = (
        scene.publish(4),
        scene.publish(5, outcome="equivalent", promotable=False),
        scene.publish(6, outcome="inconclusive", promotable=False),
    )
    for seed in (7, 8):
        scene.publish(seed, promotable=False, outcome="incomparable")
    reasons = reasons_to_stay(scene.workspace, scene.store)
    assert (reasons[better.manifest_sha256], reasons[equivalent.manifest_sha256]) == (said, said)
    assert worse.manifest_sha256 not in reasons


def test_what_a_killed_change_left_beside_the_pointer_is_garbage(scene: Scene) -> None:
    (scene.store / ".prod.77-88.tmp").write_text("{}")
    (left,) = [piece for piece in stored_releases(scene.workspace, scene.store) if piece.kind == "leftover"]
    assert (left.name, left.keep) == (".prod.77-88.tmp", None)
    assert left.garbage == "what wrote or removed it was interrupted"
