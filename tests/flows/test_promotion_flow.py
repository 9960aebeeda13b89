"""Promotion and rollback as flows: how they end, and who is written down."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prefect.context import FlowRunContext
from prefect.logging import disable_run_logger
from registry_scene import Scene, make_scene

from flows.actor import LONGEST, actor_of, one_line
from flows.logs import reworded_ending
from flows.promotion_flow import promote_flow, rollback_flow
from tasks.errors import UserError


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    scene = make_scene(tmp_path.resolve())
    monkeypatch.chdir(scene.root)
    return scene


@pytest.fixture(autouse=True)
def quiet() -> object:
    with disable_run_logger():
        yield


def started_by(name: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    created_by = SimpleNamespace(display_value=name) if name else None
    context = SimpleNamespace(flow_run=SimpleNamespace(created_by=created_by))
    monkeypatch.setattr(FlowRunContext, "get", lambda: context)


def test_a_flow_promotes_and_rolls_back(scene: Scene) -> None:
    scene.publish(1)
    done = promote_flow.fn("v1", "the first")
    assert (done.name, done.message) == ("Completed", "v1 is in production (change 1, by Ann Owner)")
    scene.publish(2)
    promote_flow.fn("v2", "better", who="Ben")
    back = rollback_flow.fn("it was wrong")
    assert (back.name, back.message) == ("Completed", "v1 is in production in place of v2 (change 3, by Ann Owner)")
    assert [change.actor for change in scene.history()] == ["Ann Owner", "Ben", "Ann Owner"]


def test_a_refusal_and_a_fault_end_with_their_reason(scene: Scene) -> None:
    scene.publish(1, promotable=False, outcome="worse", champion="a" * 64)
    refused = promote_flow.fn("v1", "please")
    assert (refused.name, refused.is_failed()) == ("Refused", True)
    assert "v1 was judged against release aaaaaaaaaaaa" in str(refused.message)
    unknown = promote_flow.fn("v7", "please")
    assert (unknown.name, unknown.is_failed()) == ("Failed", True)
    assert "no version v7" in str(unknown.message)
    assert rollback_flow.fn("please").is_failed()
    assert scene.history() == []
    assert promote_flow.fn("v1", "please", force=True).is_completed()
    assert scene.history()[0].forced


@pytest.mark.parametrize(
    ("parameters", "fault"),
    [
        ({"version": 1, "reason": "please"}, "version: 1 is no text"),
        ({"version": None, "reason": "please"}, "version: None is no text"),
        ({"version": "v1", "reason": ["a"]}, r"reason: \['a'\] is no text"),
        ({"version": "v1", "reason": "please", "who": 0}, "who: 0 is no text"),
        ({"version": "v1", "reason": "please", "force": "no"}, "force: 'no' is neither true nor false"),
    ],
)
def test_a_value_of_another_kind_is_a_failed_state_with_our_message(
    scene: Scene, parameters: dict[str, Any], fault: str
) -> None:
    """A server that judges no schema hands it on; "no" would force, and Prefect's own check ends in a traceback."""
    scene.publish(1)
    ended = promote_flow.fn(**parameters)
    assert ended.name == "Failed"
    assert re.fullmatch(fault, str(ended.message))
    assert scene.history() == []
    assert not promote_flow.should_validate_parameters
    assert not rollback_flow.should_validate_parameters


def test_a_refusal_shows_no_traceback_of_prefects(scene: Scene) -> None:
    """The worker's process raises the failed state once more and logs it as an error of its own."""
    promote_flow.fn("v7", "please")
    assert reworded_ending in logging.getLogger("prefect.flow_runs").filters
    assert reworded_ending in logging.getLogger("prefect.engine").filters


def test_whom_prefect_knows_as_the_creator_is_written_down(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    started_by("ann@example.org", monkeypatch)
    assert actor_of(scene.root) == "ann@example.org"
    assert actor_of(scene.root, "Ben") == "Ben"
    started_by(None, monkeypatch)
    assert actor_of(scene.root) == "Ann Owner"


def test_who_has_no_name_in_git_is_the_machines_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.actor.git_user", lambda root: None)
    monkeypatch.setenv("LOGNAME", "night-shift")
    assert actor_of(tmp_path) == "night-shift"


@pytest.mark.parametrize("named", ["", " \n"])
def test_an_empty_name_is_refused(tmp_path: Path, named: str) -> None:
    with pytest.raises(UserError, match="--who is empty"):
        actor_of(tmp_path, named)


@pytest.mark.parametrize(
    ("reason", "fault"),
    [
        ("wrong \udcff", r"--reason holds U\+DCFF, no characters of a text"),
        ("a\0b \x1b[31m", r"--reason holds U\+0000, U\+001B, no characters"),
        ("a" * (LONGEST + 1), "--reason has 2001 characters, at most 2000 are kept"),
    ],
)
def test_what_no_history_can_hold_or_show_is_refused(reason: str, fault: str) -> None:
    with pytest.raises(UserError, match=fault):
        one_line(reason, "--reason")


def test_any_language_and_several_lines_are_kept_on_one_line() -> None:
    assert one_line(" zu viele\n\tFehlgriffe \u2028 \u5f62\U0001f468\u200d\U0001f52c ", "--reason") == (
        "zu viele Fehlgriffe \u5f62\U0001f468\u200d\U0001f52c"
    )
    assert one_line("a" * LONGEST, "--reason") == "a" * LONGEST


def test_a_name_that_the_machine_knows_is_kept_as_far_as_it_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.actor.git_user", lambda root: "Ann\udcff \x1b[1mOwner")
    assert actor_of(tmp_path) == "Ann [1mOwner"
    monkeypatch.setattr("flows.actor.git_user", lambda root: "\0")
    monkeypatch.setenv("LOGNAME", "\udcff")
    assert actor_of(tmp_path) == "unknown"
