"""`graft history`, `show`, `diff`, `promote` and `rollback` as a person or a program types them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from registry_scene import Scene, make_scene

from flows import events, stage_change, stage_news
from flows.cli import main
from flows.events import Kind
from flows.prod_pointer import read_prod
from flows.pushing import fetch_state, push_pending
from flows.settled_pointer import settle_pointer
from flows.stage_history import stage_history
from tasks.errors import WorkspaceError


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    scene = make_scene(tmp_path.resolve())
    monkeypatch.chdir(scene.root)
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    return scene


class Said:
    """What a command printed and how it ended."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def graft(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """The command line in this process; nothing of it is to be left over."""
    monkeypatch.setattr("flows.cli.start_logs", lambda *_: None)
    monkeypatch.setattr("signal.signal", lambda *_: None)

    def run(*arguments: str) -> Said:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["graft", *arguments])
        with pytest.raises(SystemExit) as ending:
            main()
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return Said(int(ending.value.code or 0), out, err)

    return run


def test_a_version_goes_into_production_and_back_and_all_is_told(scene: Scene, graft: Any) -> None:
    scene.publish(1)
    first = graft("promote", "v1", "--reason", "the first")
    assert (first.code, first.out) == (0, "v1 is in production (change 1, by Ann Owner)\n")
    scene.publish(2)
    assert graft("promote", "2", "--reason", "better", "--who", "Ben").out == (
        "v2 is in production in place of v1 (change 2, by Ben)\n"
    )
    assert graft("rollback", "--reason", "it was wrong").out == (
        "v1 is in production in place of v2 (change 3, by Ann Owner)\n"
    )
    told = graft("history")
    assert [line.split()[3:5] for line in told.out.splitlines()[1:4]] == [
        ["v1", "promote"],
        ["v2", "promote"],
        ["v1", "rollback"],
    ]
    assert told.out.splitlines()[4].startswith("v1 is in production, since 20")


def test_what_is_in_production_already_ends_well_and_says_so(scene: Scene, graft: Any) -> None:
    scene.publish(1)
    graft("promote", "v1", "--reason", "the first")
    for command in ("promote", "rollback"):
        again = graft(command, "v1", "--reason", "again")
        assert again.code == 0
        assert again.out.startswith("v1 is in production already, since 20")
        assert again.out.endswith("; nothing to do\n")
    assert len(scene.history()) == 1


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["promote", "v1"], 1, "Missing option '--reason'. (graft promote --help shows what there is)"),
        (["promote", "--reason", "x"], 1, "Missing argument 'VERSION'"),
        (["promote", "v1", "--reason", " "], 1, "--reason is empty; it stands in the history for good"),
        (["promote", "v1", "--reason", "x", "--who", ""], 1, "--who is empty"),
        (["promote", "v7", "--reason", "x"], 1, "there is no version v7; the nearest is v2"),
        (["promote", "v2", "--reason", "x"], 2, "v2 was judged against no champion (nothing was in production), pro"),
        (["rollback"], 1, "Missing option '--reason'"),
        (["rollback", "v2", "--reason", "x"], 1, "v2 was never in production; `graft promote v2 --reason"),
        (["rollback", "--reason", "x"], 1, "there is no earlier version in production to go back to"),
        (["show"], 1, "Missing argument 'VERSION'"),
        (["show", "best"], 1, "'best' names no version"),
        (["diff", "v1"], 1, "Missing argument 'V2'"),
        (["diff", "v1", "v9"], 1, "there is no version v9; the nearest is v2"),
        (["history", "--at", "noon"], 1, "--at 'noon' is no date"),
    ],
)
def test_a_mistake_ends_in_one_message(scene: Scene, graft: Any, arguments: list[str], code: int, message: str) -> None:
    scene.publish(1)
    scene.publish(2)
    scene.promote("v1")
    said = graft(*arguments)
    assert (said.code, said.out) == (code, "")
    assert message in said.err
    assert len(scene.history()) == 1
    if "Missing" in message:
        return
    told = graft(*arguments, "--json")
    assert (told.code, list(told.json)) == (code, ["schema_version", "state", "reasons"])
    assert told.json["state"] == {1: "failed", 2: "refused"}[code]
    assert message in told.json["reasons"][0]
    assert message in told.err


@pytest.mark.parametrize("command", [["history"], ["show", "v1"], ["diff", "v1", "v2"]])
def test_an_empty_registry_says_what_to_do(scene: Scene, graft: Any, command: list[str]) -> None:
    said = graft(*command)
    assert "no version is published yet; `graft adapt --publish` publishes" in said.out + said.err
    assert not scene.store.exists()


def test_what_waits_for_its_promotion_is_listed_with_what_to_do(scene: Scene, graft: Any) -> None:
    scene.publish(1)
    said = graft("history")
    assert "nothing is in production" in said.out
    assert "never in production: v1 (first)" in said.out
    assert "`graft promote VERSION --reason TEXT` puts it into production" in said.out


def test_programs_get_one_object_with_the_same_keys(scene: Scene, graft: Any) -> None:
    scene.publish(1)
    change = {"number", "stage", "action", "version", "manifest_sha256", "previous", "previous_sha256", "forced"}
    moved = graft("promote", "v1", "--reason", "x", "--json").json
    assert list(moved) == ["schema_version", "moved", "change"]
    assert set(moved["change"]) == {*change, "actor", "reason", "at"}
    assert (moved["moved"], graft("rollback", "v1", "--reason", "x", "--json").json["moved"]) == (True, False)
    told = graft("history", "--json").json
    assert list(told) == ["schema_version", "at", "live", "changes", "versions", "notes"]
    assert (told["live"], told["changes"]) == (moved["change"], [moved["change"]])
    assert graft("history", "--json", "--at", "2020-01-01").json["live"] is None
    assert graft("show", "v1", "--json").json["version"] == 1
    assert graft("diff", "v1", "v1", "--json").json["params"] is None


def test_a_forced_promotion_is_marked_wherever_it_is_shown(scene: Scene, graft: Any) -> None:
    scene.publish(1, outcome="worse", promotable=False, champion="a" * 64)
    assert "forced, and marked as such for ever" in graft("promote", "v1", "--reason", "x", "--force").out
    assert "promote (forced)" in graft("history").out
    assert "promoted by force" in graft("history").out
    assert "by force (Ann Owner, " in graft("show", "v1").out


def test_a_change_is_announced_with_version_reasons_and_actor(
    scene: Scene, graft: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[Kind, str, dict[str, Any]]] = []
    monkeypatch.setattr(stage_news, "announce", lambda kind, name, **more: sent.append((kind, name, more)))
    one = scene.publish(1)
    graft("promote", "v1", "--reason", "the first")
    scene.publish(2)
    graft("promote", "v2", "--reason", "better")
    graft("promote", "v2", "--reason", "again")
    graft("rollback", "--reason", "it was wrong", "--who", "Ben")
    assert [(kind, name, more["version"]) for kind, name, more in sent] == [
        ("promoted", "made-up", 1),
        ("promoted", "made-up", 2),
        ("rolled_back", "made-up", 1),
    ]
    assert sent[-1][2] == {
        "version": 1,
        "manifest_sha256": one.manifest_sha256,
        "outcome": "first",
        "reasons": ["it was wrong"],
        "actor": "Ben",
        "number": 3,
        "previous": 2,
        "forced": False,
    }


def test_no_server_named_means_no_event_and_no_prefect(
    scene: Scene, graft: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "_post", lambda *_: pytest.fail("an event was sent"))
    scene.publish(1)
    assert graft("promote", "v1", "--reason", "x").code == 0


def test_a_tag_that_cannot_be_set_is_a_warning(scene: Scene, graft: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise WorkspaceError("git tag failed: read-only file system")

    monkeypatch.setattr(stage_news, "assign", refuse)
    scene.publish(1)
    said = graft("promote", "v1", "--reason", "x")
    assert said.code == 0
    assert "v1 is in production, but its stage tag is not set: git tag failed" in said.err


def test_a_remote_that_does_not_answer_delays_no_promotion_for_ever(scene: Scene, graft: Any) -> None:
    subprocess.run(["git", "remote", "add", "origin", str(scene.folder / "nowhere")], cwd=scene.root, check=True)
    scene.publish(1)
    said = graft("promote", "v1", "--reason", "x")
    assert said.code == 0
    assert "what other machines published is not known: origin did not give its registry" in said.err
    assert "not pushed: " in said.err
    assert "git's remote origin does not know of it yet, `graft push` tells it" in said.err
    assert graft("show", "v1", "--json").json["pushed"] is False


def test_a_promotion_and_a_rollback_reach_the_remote_by_themselves(scene: Scene, graft: Any) -> None:
    remote = scene.folder / "remote.git"
    subprocess.run(["git", "init", "--quiet", "--bare", str(remote)], check=True)
    subprocess.run(["git", "remote", "add", "origin", str(remote)], cwd=scene.root, check=True)
    for seed in (1, 2):
        scene.publish(seed)
        said = graft("promote", f"v{seed}", "--reason", "x")
        assert (said.code, said.err) == (0, f"pushing refs/graft/state to origin ({remote})\n")
    assert [change.version for change in stage_history(remote)] == [1, 2]
    assert graft("rollback", "--reason", "x", "--json").json["moved"] is True
    assert [change.version for change in stage_history(remote)] == [1, 2, 1]


def test_a_promotion_that_another_machine_beat_to_the_remote_is_refused_and_undone(
    scene: Scene, graft: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote = scene.folder / "remote.git"
    subprocess.run(["git", "init", "--quiet", "--bare", str(remote)], check=True)
    other = make_scene(tmp_path.resolve() / "other")
    for one in (scene, other):
        subprocess.run(["git", "remote", "add", "origin", str(remote)], cwd=one.root, check=True)
    scene.publish(1)
    graft("promote", "v1", "--reason", "x")
    fetch_state(other.workspace, other.params)
    other.publish(1)
    faster, late = other.publish(2), scene.publish(3)
    settle_pointer(other.workspace, other.store)
    change_stage = stage_change.change_stage

    def beaten(*arguments: Any) -> Any:
        if arguments[0] == other.root:
            return change_stage(*arguments)
        other.promote("v2")
        assert push_pending(other.workspace, other.params).pushed
        return change_stage(*arguments)

    scene.publish(2)  # Its release only: the version is the other machine's once that is known.
    with monkeypatch.context() as patched:
        patched.setattr("flows.promotion.change_stage", beaten)
        said = graft("promote", late.manifest_sha256, "--reason", "x")
    assert said.code == 2
    assert "is not in production: v2 had taken over on another machine (by Ann)" in said.err
    assert "it did not last: another machine had changed production first" in said.err
    assert "followed the registry: v2 (change 2, by Ann) is in production now" in said.err
    assert [change.manifest_sha256 for change in scene.history()][1:] == [faster.manifest_sha256]
    shown = read_prod(scene.store)
    assert shown is not None
    assert shown.manifest_sha256 == faster.manifest_sha256


@pytest.fixture
def clone(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """A clone of a remote that has v1, in production, and v2; the commands run in it."""
    remote = scene.folder / "remote.git"
    subprocess.run(["git", "init", "--quiet", "--bare", str(remote)], check=True)
    subprocess.run(["git", "remote", "add", "origin", str(remote)], cwd=scene.root, check=True)
    scene.publish(1)
    scene.promote("v1")
    scene.publish(2)
    assert push_pending(scene.workspace, scene.params).pushed
    other = make_scene(scene.folder / "other")
    subprocess.run(["git", "remote", "add", "origin", str(remote)], cwd=other.root, check=True)
    monkeypatch.chdir(other.root)
    return other


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (["history"], "v1 is in production, since 20"),
        (["show", "v2"], "v2  made-up@"),
        (["diff", "1", "2"], "v1 -> v2"),
    ],
)
def test_a_fresh_clone_gets_the_registry_with_its_first_question(
    clone: Scene, graft: Any, command: list[str], told: str
) -> None:
    first = graft(*command)
    assert (first.code, told in first.out) == (0, True)
    assert "fetched the registry of origin: 2 published versions" in first.err
    subprocess.run(["git", "remote", "set-url", "origin", str(clone.folder / "nowhere")], cwd=clone.root, check=True)
    again = graft(*command)
    assert (again.code, again.out, "nowhere" in again.err) == (0, first.out, False)


def test_a_clone_whose_remote_does_not_answer_says_so_and_goes_on(clone: Scene, graft: Any) -> None:
    subprocess.run(["git", "remote", "set-url", "origin", str(clone.folder / "nowhere")], cwd=clone.root, check=True)
    said = graft("history")
    assert (said.code, said.out.startswith("no version is published yet")) == (0, True)
    assert said.err.count("what other machines published is not known: origin did not give its registry") == 1
