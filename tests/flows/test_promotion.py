"""`graft promote`: who may take over production, and that history and pointer never part."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from registry_scene import Scene, make_scene

from flows import promotion as promotion_module
from flows import stage_change
from flows.prod_pointer import read_prod
from flows.settled_pointer import settle_pointer
from flows.store import LOCK
from flows.versions import versions
from tasks.errors import NotPromotable, ReleaseError, UserError, WorkspaceError
from tasks.params import PromotionParams
from tasks.release import QUALIFICATION
from tasks.reports.prod_pointer import ProdPointer
from tasks.reports.qualification import Qualification


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return make_scene(tmp_path.resolve())


def pointer(scene: Scene) -> tuple[int, int, str]:
    shown = read_prod(scene.store)
    assert shown is not None
    return shown.number, shown.version, shown.manifest_sha256


def test_a_promotable_version_takes_over_and_history_says_by_whom_and_why(scene: Scene) -> None:
    one = scene.publish(1)
    first = scene.promote("v1", "the first model")
    two = scene.publish(2)
    second = scene.promote(two.manifest_sha256[:10])
    assert scene.history() == [first, second]
    assert (first.number, first.previous, first.previous_sha256, first.action) == (1, None, None, "promote")
    assert (second.number, second.version, second.previous, second.previous_sha256) == (2, 2, 1, one.manifest_sha256)
    assert (first.actor, first.reason, first.forced, second.forced) == ("Ann", "the first model", False, False)
    assert pointer(scene) == (2, 2, two.manifest_sha256)


def test_the_pointer_file_is_what_servers_will_read(scene: Scene) -> None:
    one = scene.publish(1)
    scene.promote("v1")
    assert json.loads((scene.store / "prod").read_text()) == {
        "schema_version": 2,
        "number": 1,
        "version": 1,
        "manifest_sha256": one.manifest_sha256,
    }
    assert sorted(path.name for path in scene.store.iterdir()) == sorted([LOCK, "prod", one.manifest_sha256])


def test_what_is_in_production_already_is_left_as_it_is(scene: Scene) -> None:
    scene.publish(1)
    first = scene.promote("v1")
    before = (scene.store / "prod").stat().st_ino
    assert scene.promote("v1", "again") == first
    assert scene.promote("v1", "again", force=True) == first
    assert (scene.store / "prod").stat().st_ino == before
    assert scene.history() == [first]


def test_a_verdict_against_another_champion_does_not_promote(scene: Scene) -> None:
    scene.publish(1)
    late, better = None, None
    scene.promote("v1")
    better, late = scene.publish(2), scene.publish(3)
    scene.promote("v2")
    expected = (
        "v3 was judged against v1, production is v2; run `graft adapt --publish` again, or promote it with --force"
    )
    with pytest.raises(NotPromotable, match=re.escape(expected)):
        scene.promote("v3")
    assert pointer(scene) == (2, 2, better.manifest_sha256)
    assert scene.promote("v3", force=True).forced
    assert pointer(scene) == (3, 3, late.manifest_sha256)


def test_a_first_model_that_comes_second_is_told_so(scene: Scene) -> None:
    scene.publish(1)
    scene.publish(2)
    scene.promote("v1")
    with pytest.raises(NotPromotable, match=r"v2 was judged against no champion \(nothing was .*\), production is v1"):
        scene.promote("v2")


def test_a_verdict_against_a_champion_that_is_not_in_this_production_does_not_promote(scene: Scene) -> None:
    scene.publish(1, champion="a" * 64)
    with pytest.raises(NotPromotable, match="v1 was judged against release aaaaaaaaaaaa, production is empty"):
        scene.promote("v1")


@pytest.mark.parametrize("outcome", ["inconclusive", "incomparable", "worse", "better"])
def test_a_verdict_that_does_not_allow_it_is_named_and_force_overrules_it_for_ever(scene: Scene, outcome: str) -> None:
    scene.publish(1)
    scene.promote("v1")
    scene.publish(2, outcome=outcome, promotable=False)
    with pytest.raises(NotPromotable, match=rf"v2 is not promotable: its verdict is {outcome} .*--force"):
        scene.promote("v2")
    assert len(scene.history()) == 1
    assert scene.promote("v2", "a demo", force=True).forced
    scene.publish(3)
    scene.promote("v3")
    assert [change.forced for change in scene.history()] == [False, True, False]


def test_force_that_was_not_needed_marks_nothing(scene: Scene) -> None:
    scene.publish(1)
    assert not scene.promote("v1", force=True).forced


def with_equivalent(scene: Scene, allowed: bool) -> None:
    scene.workspace.params.write_text(f"schema_version: 2\npromotion: {{equivalent: {str(allowed).lower()}}}\n")
    assert scene.params.promotion == PromotionParams(equivalent=allowed)


def test_params_of_now_say_whether_an_equivalent_version_may_be_promoted(scene: Scene) -> None:
    scene.publish(1)
    scene.promote("v1")
    scene.publish(2, outcome="equivalent", promotable=True)
    with pytest.raises(NotPromotable, match=r"v2 is equivalent to v1, and promotion\.equivalent is false"):
        scene.promote("v2")
    with_equivalent(scene, True)
    assert not scene.promote("v2").forced


@pytest.mark.parametrize("holds", [True, False])
def test_an_equivalent_version_of_stricter_days_is_held_against_the_best_one_too(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, holds: bool
) -> None:
    scene.publish(1)
    scene.promote("v1")
    scene.publish(2, outcome="equivalent", promotable=False)
    with_equivalent(scene, True)
    monkeypatch.setattr(promotion_module, "holds_against_best", lambda root, wanted: holds)
    if holds:
        assert not scene.promote("v2").forced
    else:
        with pytest.raises(NotPromotable, match="v2 is not promotable: its verdict is equivalent"):
            scene.promote("v2")


def test_an_equivalent_version_whose_run_is_not_here_cannot_be_held_against_the_best(scene: Scene) -> None:
    version = scene.publish(1, commit="f" * 40)
    assert not promotion_module.holds_against_best(scene.root, version)


@pytest.mark.parametrize("reason", ["", "  ", "\n"])
def test_an_empty_reason_is_refused(scene: Scene, reason: str) -> None:
    scene.publish(1)
    with pytest.raises(UserError, match="--reason is empty"):
        scene.promote("v1", reason)
    assert scene.history() == []


def test_a_reason_of_many_lines_becomes_one(scene: Scene) -> None:
    scene.publish(1)
    assert scene.promote("v1", "it is\n  better\tby far ").reason == "it is better by far"


@pytest.mark.parametrize("fault", ["gone", "altered", "unqualified", "of another", "answers"])
def test_a_release_that_no_server_would_take_is_not_promoted(scene: Scene, fault: str) -> None:
    one = scene.publish(1)
    folder = scene.store / one.manifest_sha256
    if fault == "gone":
        folder.rename(scene.folder / "away")
    elif fault == "altered":
        (folder / "model.onnx").write_bytes(b"other")
    elif fault == "answers":
        golden = json.loads((folder / "golden" / "golden.json").read_text())
        golden["cases"][0]["probabilities"] = [0.5, 0.5]
        retold(scene, folder, golden)
    else:
        qualification = Qualification.read(folder / QUALIFICATION)
        change = {"passed": False} if fault == "unqualified" else {"manifest_sha256": "0" * 64}
        qualification.model_copy(update=change).write(folder / QUALIFICATION)
    message = {
        "gone": r"is not in the store",
        "altered": r"model\.onnx was altered or truncated",
        "unqualified": r"is not qualified",
        "of another": r"is of another release",
        "answers": r"does not answer its golden files as at its export: .*probabilities differ",
    }
    with pytest.raises(ReleaseError, match=message[fault]):
        scene.promote("v1", force=True)
    assert scene.history() == []
    assert read_prod(scene.store) is None


def retold(scene: Scene, folder: Path, golden: object) -> None:
    """A release with other golden answers, whole in itself, in place of the registered one."""
    from tasks.digests import file_sha256
    from tasks.release import manifest_sha256
    from tasks.reports.manifest import Manifest

    (folder / "golden" / "golden.json").write_text(json.dumps(golden))
    manifest = Manifest.read(folder / "manifest.json")
    files = {**manifest.files, "golden/golden.json": file_sha256(folder / "golden" / "golden.json")}
    manifest.model_copy(update={"files": files}).write(folder / "manifest.json")
    digest = manifest_sha256(folder)
    Qualification.read(folder / QUALIFICATION).model_copy(update={"manifest_sha256": digest}).write(
        folder / QUALIFICATION
    )
    folder.rename(scene.store / digest)
    from flows.journal import VERSIONS
    from flows.state import StateRef

    state = StateRef(scene.root)
    (known,) = versions(scene.root)
    line = known.model_copy(update={"manifest_sha256": digest}).model_dump_json().encode() + b"\n"
    state.write({VERSIONS: line}, "By hand", state.head())


class Crash(BaseException):
    """What ends a process at once."""


def crashed_between(scene: Scene, monkeypatch: pytest.MonkeyPatch, act: str = "promote") -> None:
    """The history has the change, the pointer has not."""

    def crash(*_: object) -> None:
        raise Crash

    with monkeypatch.context() as patched:
        patched.setattr(stage_change, "write_prod", crash)
        with pytest.raises(Crash):
            scene.promote("v2") if act == "promote" else scene.rollback()


def test_a_change_that_was_interrupted_before_the_pointer_is_completed_by_the_next_command(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.publish(1)
    scene.promote("v1")
    two = scene.publish(2)
    crashed_between(scene, monkeypatch)
    assert (len(scene.history()), pointer(scene)[0]) == (2, 1)
    (line,) = settle_pointer(scene.workspace, scene.store)
    assert line == "completed an interrupted change: v2 (change 2, by Ann) is in production now"
    assert pointer(scene) == (2, 2, two.manifest_sha256)
    assert settle_pointer(scene.workspace, scene.store) == []


def test_the_next_promotion_starts_from_the_interrupted_one(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scene.publish(1)
    scene.promote("v1")
    two = scene.publish(2)
    crashed_between(scene, monkeypatch)
    three = scene.publish(3)
    change = scene.promote("v3")
    assert (change.number, change.previous_sha256) == (3, two.manifest_sha256)
    assert pointer(scene) == (3, 3, three.manifest_sha256)
    assert capsys.readouterr().err.count("completed an interrupted change: v2") == 1


def test_a_rollback_goes_back_from_the_interrupted_change(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    one = scene.publish(1)
    scene.promote("v1")
    scene.publish(2)
    crashed_between(scene, monkeypatch)
    assert scene.rollback().number == 3
    assert pointer(scene) == (3, 1, one.manifest_sha256)


def test_a_pointer_that_is_gone_is_written_anew(scene: Scene) -> None:
    one = scene.publish(1)
    scene.promote("v1")
    (scene.store / "prod").unlink()
    (line,) = settle_pointer(scene.workspace, scene.store)
    assert "v1 (change 1, by Ann) is in production now" in line
    assert pointer(scene) == (1, 1, one.manifest_sha256)


def test_a_pointer_to_the_right_release_under_an_older_number_is_brought_into_step(scene: Scene) -> None:
    one = scene.publish(1)
    scene.promote("v1")
    ProdPointer(number=7, version=4, manifest_sha256=one.manifest_sha256).write(scene.store / "prod")
    assert settle_pointer(scene.workspace, scene.store) == []
    assert pointer(scene) == (1, 1, one.manifest_sha256)


@pytest.mark.parametrize("text", ["", "{}", "v3", '{"number": 1, "version": 1, "manifest_sha256": "../../etc"}'])
def test_a_pointer_that_cannot_be_read_is_named_with_the_mend(scene: Scene, text: str) -> None:
    scene.publish(1)
    scene.promote("v1")
    (scene.store / "prod").write_text(text)
    for act in (lambda: scene.promote("v1"), lambda: settle_pointer(scene.workspace, scene.store)):
        with pytest.raises(
            ReleaseError, match=r"prod is not a readable ProdPointer.*; move it away, and `graft history`"
        ):
            act()
    (scene.store / "prod").rename(scene.folder / "away")
    settle_pointer(scene.workspace, scene.store)
    assert pointer(scene)[0] == 1


@pytest.mark.parametrize("number", [1, 5])
def test_a_pointer_of_another_checkout_is_told_and_never_overwritten(scene: Scene, number: int) -> None:
    scene.publish(1)
    scene.promote("v1")
    scene.publish(2)
    ProdPointer(number=number, version=3, manifest_sha256="c" * 64).write(scene.store / "prod")
    before = (scene.store / "prod").read_bytes()
    (line,) = settle_pointer(scene.workspace, scene.store)
    assert f"shows change {number} (v3), which this checkout's history does not know (it ends at change 1)" in line
    for act in (lambda: scene.promote("v2", force=True), scene.rollback, lambda: scene.rollback("v1")):
        with pytest.raises(WorkspaceError, match=r"has not pushed it \(`graft push` there.*move .*prod away"):
            act()
    assert (scene.store / "prod").read_bytes() == before
    assert len(scene.history()) == 1


def test_a_history_whose_release_is_not_in_this_store_is_told_and_another_can_be_promoted(scene: Scene) -> None:
    scene.publish(1)
    scene.promote("v1")
    two = scene.publish(2)
    scene.promote("v2")
    three = scene.publish(3)
    (scene.store / two.manifest_sha256).rename(scene.folder / "away")
    (scene.store / "prod").unlink()
    (line,) = settle_pointer(scene.workspace, scene.store)
    assert "the history says that v2 (change 2, by Ann) is in production, and its release is not in" in line
    assert read_prod(scene.store) is None
    scene.promote("v3")
    assert pointer(scene) == (3, 3, three.manifest_sha256)


def test_a_store_that_cannot_be_written_leaves_the_history_as_it_was(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.publish(1)
    scene.promote("v1")
    scene.publish(2)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(stage_change, "write_prod", full)
        with pytest.raises(ReleaseError, match=r"prod cannot be replaced: .*No space left.*the next command completes"):
            scene.promote("v2")
    assert pointer(scene)[1] == 1
    assert "completed an interrupted change: v2" in settle_pointer(scene.workspace, scene.store)[0]
