"""`graft history`, `show`, `diff`, `promote` and `rollback` as a person or a program types them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from registry_scene import Scene, make_scene

from flows import events, stage_news
from flows.cli import main
from flows.events import Kind
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
        (["rollback", "--reason", "x"], 1, "before v1 nothing was in production that was not rolled back from"),
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
    assert "git's remote origin does not know of it yet; `graft push` tells it" in said.err
    assert graft("show", "v1", "--json").json["pushed"] is False
