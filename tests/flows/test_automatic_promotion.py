"""When a run promotes what it has published, and what it says where it does not."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from registry_scene import Scene, make_scene
from small_workspace import change_params

from flows.automatic_promotion import Answer, Approve, obstacle, promote_if_allowed
from flows.pushing import push_pending
from flows.records import VersionRecord
from flows.stage_history import stage_history


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    scene = make_scene(tmp_path.resolve())
    change_params(scene.workspace, {"promotion": {"automatic": True}})
    return scene


def promoted(scene: Scene, version: VersionRecord, approve: Approve | None = None) -> str | None:
    return promote_if_allowed(scene.workspace, scene.params, version, "run 1: better", "Ada", approve)


def live(scene: Scene) -> int | None:
    history = scene.history()
    return history[-1].version if history else None


def test_a_promotable_version_takes_over_in_the_name_of_the_run(scene: Scene) -> None:
    assert promoted(scene, scene.publish(1)) is None
    (change,) = scene.history()
    assert (change.version, change.actor, change.reason, change.forced) == (1, "Ada", "run 1: better", False)


def test_a_version_that_is_in_production_already_is_no_second_change(scene: Scene) -> None:
    version = scene.publish(1)
    assert [promoted(scene, version) for _ in range(2)] == [None, None]
    assert len(scene.history()) == 1


def test_by_default_a_person_promotes_and_is_told_how(scene: Scene) -> None:
    change_params(scene.workspace, {"promotion": {"automatic": False}})
    why_not = promoted(scene, scene.publish(1))
    assert why_not == 'promotion.automatic is false; `graft promote v1 --reason "..."` does it'
    assert live(scene) is None


def test_a_verdict_that_does_not_allow_it_is_named(scene: Scene) -> None:
    promoted(scene, scene.publish(1))
    why_not = promoted(scene, scene.publish(2, outcome="inconclusive", promotable=False))
    assert why_not is not None
    assert "its verdict is inconclusive" in why_not
    assert live(scene) == 1


def test_a_verdict_about_another_champion_promotes_nothing(scene: Scene) -> None:
    promoted(scene, scene.publish(1))
    late = scene.publish(2)
    promoted(scene, scene.publish(3))
    why_not = promoted(scene, late)
    assert why_not is not None
    assert "v2 was judged against v1, production is v3" in why_not
    assert live(scene) == 3


def test_a_model_that_was_rolled_back_does_not_come_back_by_itself(scene: Scene) -> None:
    promoted(scene, scene.publish(1))
    bad = scene.publish(2)
    promoted(scene, bad)
    scene.rollback()
    again = scene.publish(3, model_sha256=bad.model_sha256)
    why_not = promoted(scene, again)
    assert why_not == 'it holds the model of v2, which was rolled back; `graft promote v3 --reason "..."` does it'
    assert live(scene) == 1
    assert promoted(scene, scene.publish(4)) is None, "another model may"


def test_where_nobody_can_be_asked_approval_means_no(scene: Scene) -> None:
    change_params(scene.workspace, {"promotion": {"approval": True}})
    version = scene.publish(1)
    why_not = promoted(scene, version)
    assert why_not is not None
    assert "promotion.approval wants a person's word" in why_not
    assert live(scene) is None
    assert obstacle(scene.workspace, scene.params, version, asks=True) is None


@pytest.mark.parametrize(
    ("answer", "said", "version"),
    [
        (Answer(True, "Grace", "looks right"), None, 1),
        (Answer(False, "Grace", "too many cats"), "too many cats (Grace)", None),
        (Answer(False, "", "nobody approved it within 24 hours"), "nobody approved it within 24 hours", None),
    ],
)
def test_a_person_decides_and_stands_in_the_history(
    scene: Scene, answer: Answer, said: str | None, version: int | None
) -> None:
    change_params(scene.workspace, {"promotion": {"approval": True}})
    assert promoted(scene, scene.publish(1), lambda _: answer) == said
    assert live(scene) == version
    if version:
        assert (scene.history()[-1].actor, scene.history()[-1].reason) == ("Grace", "looks right")


def test_a_person_is_not_asked_for_what_may_not_be_promoted(scene: Scene) -> None:
    change_params(scene.workspace, {"promotion": {"approval": True}})
    version = scene.publish(1, promotable=False, outcome="inconclusive")
    assert "not promotable" in str(promoted(scene, version, lambda _: pytest.fail("somebody was asked")))


def test_production_that_moves_while_a_person_thinks_is_not_overwritten(scene: Scene) -> None:
    change_params(scene.workspace, {"promotion": {"approval": True}})
    first, other = scene.publish(1), scene.publish(2)

    def thinking(_: VersionRecord) -> Answer:
        scene.promote("v2")
        return Answer(True, "Grace", "looks right")

    why_not = promoted(scene, first, thinking)
    assert why_not is not None
    assert "production is v2" in why_not
    assert live(scene) == other.version


def test_a_server_that_fails_while_asking_leaves_the_version_published(scene: Scene) -> None:
    change_params(scene.workspace, {"promotion": {"approval": True}})

    def broken(_: VersionRecord) -> Answer:
        raise ConnectionError("gone")

    assert promoted(scene, scene.publish(1), broken) == "nobody could be asked (ConnectionError: gone)"
    assert live(scene) is None


def with_remote(scene: Scene, folder: Path) -> Path:
    remote = folder / "remote.git"
    if not remote.is_dir():
        subprocess.run(["git", "init", "--quiet", "--bare", str(remote)], check=True)
    subprocess.run(["git", "remote", "add", "origin", str(remote)], cwd=scene.root, check=True)
    return remote


def test_other_machines_know_of_it_at_once(scene: Scene, tmp_path: Path) -> None:
    remote = with_remote(scene, tmp_path)
    assert promoted(scene, scene.publish(1)) is None
    assert [change.version for change in stage_history(remote)] == [1]


def test_what_another_machine_promoted_while_the_run_worked_is_known_before_it_promotes(
    scene: Scene, tmp_path: Path
) -> None:
    other = make_scene(tmp_path.resolve() / "other")
    for one in (scene, other):
        with_remote(one, tmp_path)
    late = scene.publish(1)
    faster = other.publish(2)
    other.promote("v1")
    assert push_pending(other.workspace, other.params).pushed
    why_not = promoted(scene, late)
    assert why_not is not None
    assert "was judged against no champion (nothing was in production), production is v1" in why_not
    assert [change.manifest_sha256 for change in scene.history()] == [faster.manifest_sha256]


def test_while_a_person_thinks_another_machine_may_promote(scene: Scene, tmp_path: Path) -> None:
    change_params(scene.workspace, {"promotion": {"approval": True}})
    other = make_scene(tmp_path.resolve() / "other")
    for one in (scene, other):
        with_remote(one, tmp_path)

    def thinking(_: VersionRecord) -> Answer:
        other.publish(2)
        other.promote("v1")
        push_pending(other.workspace, other.params)
        return Answer(True, "Grace", "looks right")

    assert "production is v1" in str(promoted(scene, scene.publish(1), thinking))
    assert [change.actor for change in scene.history()] == ["Ann"]


def test_a_remote_that_does_not_answer_keeps_nobody_from_promoting(
    scene: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with_remote(scene, tmp_path).rename(tmp_path / "away")
    assert promoted(scene, scene.publish(1)) is None
    said = capsys.readouterr().err
    assert "what other machines published is not known: origin did not give its registry" in said
    assert "not pushed: origin did not give its registry" in said
