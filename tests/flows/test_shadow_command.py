"""`graft shadow`: which version sees what production answers, by whose hand, and what stays as it was."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from registry_scene import Scene, make_scene

from flows.cli import main
from flows.live_releases import reasons_to_stay
from flows.prod_pointer import read_prod
from flows.shadow_pointer import put_in_shadow, read_shadow, shadow_history
from flows.state import StateRef
from flows.state_merge import merge_state
from tasks.errors import ReleaseError


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """Two versions, the first in production."""
    scene = make_scene(tmp_path.resolve())
    monkeypatch.chdir(scene.root)
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    scene.publish(1)
    scene.promote("v1")
    scene.publish(2)
    return scene


@pytest.fixture
def graft(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """The command line in this process: (exit code, stdout, stderr)."""
    monkeypatch.setattr("flows.cli.start_logs", lambda *_: None)
    monkeypatch.setattr("signal.signal", lambda *_: None)

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["graft", *arguments])
        try:
            main()
            code = 0
        except SystemExit as ending:
            code = int(ending.code or 0)
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return code, out, err

    return run


def test_a_version_goes_into_the_shadow_and_out_and_production_stays(scene: Scene, graft: Any) -> None:
    before = (scene.store / "prod").read_bytes()
    assert graft("shadow")[:2] == (0, "there is no shadow\n")
    code, out, _ = graft("shadow", "v2", "--reason", "see how it does")
    assert (code, out) == (
        0,
        "v2 is in the shadow of production (by Ann Owner); servers follow within serve.watch_seconds\n",
    )
    pointer = read_shadow(scene.store)
    assert pointer is not None
    assert (pointer.version, (scene.store / pointer.manifest_sha256).is_dir()) == (2, True)
    assert reasons_to_stay(scene.workspace, scene.store)[pointer.manifest_sha256] == "shadow names it"
    shown = graft("shadow")[1]
    assert shown.startswith("v2 is in the shadow of production since 20")
    assert shown.endswith("(by Ann Owner: see how it does)\n")
    assert graft("shadow", "--off", "--who", "Ben")[:2] == (0, "there is no shadow any more\n")
    assert read_shadow(scene.store) is None
    assert graft("shadow", "--off")[:2] == (0, "there is no shadow\n")
    lines = [(change.number, change.version, change.actor, change.reason) for change in shadow_history(scene.root)]
    assert lines == [(1, 2, "Ann Owner", "see how it does"), (2, None, "Ben", "")]
    assert (scene.store / "prod").read_bytes() == before
    assert len(scene.history()) == 1


def test_a_shadow_keeps_itself_from_garbage_collection_and_nothing_else(tmp_path: Path) -> None:
    scene = make_scene(tmp_path.resolve())
    first = scene.publish(1)
    worse = [scene.publish(seed, promotable=False, outcome="worse") for seed in range(2, 6)]
    put_in_shadow(scene.workspace, scene.params, "v3", "see", "Ann")
    reasons = reasons_to_stay(scene.workspace, scene.store)
    assert reasons[worse[1].manifest_sha256] == "shadow names it"
    assert reasons[first.manifest_sha256] == "its verdict is about what is live: it can be promoted"
    assert worse[0].manifest_sha256 not in reasons
    assert len(reasons) == 4


def test_the_same_again_changes_nothing(scene: Scene, graft: Any) -> None:
    graft("shadow", "v2", "--reason", "once")
    written = (scene.store / "shadow").stat()
    code, out, _ = graft("shadow", "2", "--reason", "twice", "--json")
    assert (code, json.loads(out)["moved"]) == (0, False)
    assert json.loads(out)["change"]["reason"] == "once"
    assert (scene.store / "shadow").stat().st_mtime_ns == written.st_mtime_ns
    assert len(shadow_history(scene.root)) == 1


def test_a_version_that_may_not_be_promoted_may_still_be_compared(scene: Scene, graft: Any) -> None:
    scene.publish(3, promotable=False, outcome="worse")
    assert graft("promote", "v3", "--reason", "x")[0] == 2
    assert graft("shadow", "v3", "--reason", "where is it worse?")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["shadow", "v2"], "--reason is missing: say why the version is to be in the shadow"),
        (["shadow", "v2", "--reason", " "], "--reason is empty"),
        (["shadow", "v2", "--reason", "x", "--off"], "give a VERSION or --off, not both"),
        (["shadow", "v9", "--reason", "x"], "there is no version v9; the nearest is v2"),
        (["shadow", "v1", "--reason", "x"], "v1 is in production: there is nothing to compare it with"),
        (["shadow", "--off", "--reason", ""], "--reason is empty"),
    ],
)
def test_a_mistake_ends_in_one_message(scene: Scene, graft: Any, arguments: list[str], message: str) -> None:
    code, out, err = graft(*arguments)
    assert (code, out) == (1, "")
    assert message in err
    code, out, _ = graft(*arguments, "--json")
    assert code == 1
    assert message in json.loads(out)["reasons"][0]
    assert read_shadow(scene.store) is None
    assert shadow_history(scene.root) == []


def test_a_release_that_does_not_hold_goes_into_no_shadow(scene: Scene, graft: Any) -> None:
    graft("shadow", "v2", "--reason", "x")
    record = scene.publish(3)
    model = scene.store / record.manifest_sha256 / "model.onnx"
    model.write_bytes(model.read_bytes()[:-10])
    code, _, err = graft("shadow", "v3", "--reason", "x")
    assert code == 1
    assert "model.onnx was altered or truncated" in err
    pointer = read_shadow(scene.store)
    assert pointer is not None
    assert pointer.version == 2


def test_what_was_interrupted_between_registry_and_pointer_is_completed_by_the_same_command(
    scene: Scene, graft: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("flows.shadow_pointer.write_bytes", full)
        code, _, err = graft("shadow", "v2", "--reason", "x")
    assert code == 1
    assert "No space left on device; run the command again" in err
    assert (read_shadow(scene.store), len(shadow_history(scene.root))) == (None, 1)
    assert graft("shadow", "v2", "--reason", "x")[0] == 0
    assert read_shadow(scene.store) is not None
    assert len(shadow_history(scene.root)) == 1


def test_an_unreadable_or_foreign_pointer_is_named_and_can_be_ended(scene: Scene, graft: Any) -> None:
    (scene.store / "shadow").write_text("{")
    assert "`graft shadow --off` takes it away" in graft("shadow")[2]
    with pytest.raises(ReleaseError):
        read_shadow(scene.store)
    assert graft("shadow", "--off")[:2] == (0, "there is no shadow any more\n")
    prod = read_prod(scene.store)
    assert prod is not None
    prod.model_copy(update={"version": 7, "manifest_sha256": "a" * 64}).write(scene.store / "shadow")
    assert "shows v7 (aaaaaaaaaaaa), which another checkout put there" in graft("shadow")[2]
    assert graft("shadow", "v2", "--reason", "mine")[0] == 0


def test_what_two_machines_decided_of_their_shadows_is_kept_by_a_merge(scene: Scene, graft: Any) -> None:
    state = StateRef(scene.root)
    base = state.head()
    graft("shadow", "v2", "--reason", "theirs")
    theirs = state.head()
    assert base is not None
    assert theirs is not None
    state.move(base, theirs, "Go back, as the other machine stands")
    graft("shadow", "--off")
    (scene.store / "shadow").unlink(missing_ok=True)
    graft("shadow", "v2", "--reason", "ours")
    graft("shadow", "--off", "--reason", "enough")
    merge_state(scene.root, theirs)
    assert [(change.number, change.version, change.reason) for change in shadow_history(scene.root)] == [
        (1, 2, "theirs"),
        (2, 2, "ours"),
        (3, None, "enough"),
    ]
