"""Asking a person: an answer counts, a blank one is asked again, a wrong one is refused, none means no."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextvars import copy_context
from pathlib import Path
from typing import Any

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import StateType
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

from flows import approval
from flows.approval import asked
from flows.automatic_promotion import Answer
from flows.embedded_server import prefect_server

HOUR = 1.0


@pytest.fixture(scope="module", autouse=True)
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    home = tmp_path_factory.mktemp("prefect")
    before = dict(os.environ)
    os.environ.update({"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"})
    try:
        with temporary_settings({PREFECT_HOME: Path(home)}, restore_defaults=[PREFECT_API_URL]), prefect_server():
            yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(approval, "POLL_SECONDS", 1)


@flow(name="asking", retries=0)
def asking(hours: float) -> Answer:
    return asked("v3", "| accuracy | 0.9 |", hours)


def answers(*given: Mapping[str, Any]) -> tuple[threading.Thread, list[str]]:
    """Somebody who answers each time that the run pauses; what the server said to each answer."""
    said: list[str] = []

    def answer() -> None:
        seen: set[Any] = set()
        with get_client(sync_client=True) as client:
            for one in given:
                run, state = waited(lambda: paused(client, seen))
                if one.get("wrong") is None:
                    seen.add(state)
                told = client.resume_flow_run(run, run_input={k: v for k, v in one.items() if k != "wrong"})
                said.append(told.status.value)

    thread = threading.Thread(target=copy_context().run, args=(answer,), daemon=True)
    thread.start()
    return thread, said


def paused(client: Any, seen: set[Any]) -> tuple[Any, Any] | None:
    """The paused run whose pause was not answered yet, and its state, once the form is there."""
    wanted = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.PAUSED])))
    for run in client.read_flow_runs(flow_run_filter=wanted):
        if run.state.id not in seen:
            key = run.state.state_details.run_input_keyset["schema"]
            answer = client.request("GET", "/flow_runs/{id}/input/{key}", path_params={"id": run.id, "key": key})
            return (run.id, run.state.id) if answer.status_code == 200 else None
    return None


def waited(look: Callable[[], tuple[Any, Any] | None], seconds: float = 60.0) -> tuple[Any, Any]:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if found := look():
                return found
        except Exception:  # the form is not there yet: the server answers 404
            pass
        time.sleep(0.3)
    raise AssertionError("the run never paused")


def test_what_a_person_answers_counts() -> None:
    thread, said = answers({"approve": True, "name": " Ada ", "reason": "better on the hard class"})
    assert asking(HOUR) == Answer(True, "Ada", "better on the hard class")
    thread.join(10)
    assert said == ["ACCEPT"]


def test_a_no_is_a_no_with_name_and_reason() -> None:
    answers({"approve": False, "name": "Grace", "reason": "the test set is too easy"})
    assert asking(HOUR) == Answer(False, "Grace", "the test set is too easy")


def test_a_blank_answer_is_asked_again() -> None:
    thread, said = answers(
        {"approve": True, "name": "  ", "reason": "good"},
        {"approve": True, "name": "Ada", "reason": "\t"},
        {"approve": True, "name": "Ada", "reason": "good"},
    )
    assert asking(HOUR) == Answer(True, "Ada", "good")
    thread.join(10)
    assert said == ["ACCEPT", "ACCEPT", "ACCEPT"]


def test_an_answer_that_does_not_fit_the_form_is_refused_and_the_run_stays_paused() -> None:
    thread, said = answers(
        {"approve": "perhaps", "name": "Ada", "reason": "good", "wrong": True},
        {"approve": True, "name": "Ada", "wrong": True},
        {"approve": True, "name": "", "reason": "good", "wrong": True},
        {"approve": True, "name": "Ada", "reason": "good"},
    )
    assert asking(HOUR) == Answer(True, "Ada", "good")
    thread.join(10)
    assert said == ["REJECT", "REJECT", "REJECT", "ACCEPT"]


def test_no_answer_means_no_and_the_run_ends_well() -> None:
    """Prefect fails a run whose own pause ran out, and this one has published by then."""
    state = asking(3 / 3600, return_state=True)
    assert state.is_completed()
    answer = state.result()
    assert (answer.granted, answer.by) == (False, "")
    assert "no answer means no" in answer.said
