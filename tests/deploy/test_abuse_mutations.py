"""Thousands of spoilt requests against a real server: each is answered, none by a 5xx, and no memory grows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hostile_client import Outcomes, send_all
from hostile_requests import Hostile, hostile, sound_requests
from running_server import RunningServer, errors_in, running_server
from small_release import CROP

MODEL = "made-up"
GROWTH_MB = 40.0
"""Resident memory may be so much more at the end than after the first quarter: what the allocator keeps of one image of
the most pixels allowed here (17 MB), and as much again. At 100,000 a leak of a kilobyte a request is 75 MB."""


@pytest.fixture
def server(release_template: Path, tmp_path: Path) -> Iterator[RunningServer]:
    short = ["header_seconds=0.5", "body_seconds=0.5", "body_mb=1", "max_pixels=1000000"]
    limits = [argument for one in short for argument in ("--set", f"serve.limits.{one}")]
    with running_server("--release", str(release_template), *limits, folder=tmp_path) as running:
        yield running


def sent(server: RunningServer, first: int, count: int) -> Outcomes:
    requests = (hostile(number, MODEL, CROP) for number in range(first, first + count))
    return send_all(server.host, server.port, requests)


def prove(server: RunningServer, count: int) -> dict[str, Any]:
    """Send so many; the memory after a quarter is what the end is measured by."""
    quarter = count // 4
    outcomes = [sent(server, 0, quarter)]
    warm, files = server.resident_mb(), server.open_files()
    outcomes.append(sent(server, quarter, count - quarter))
    statuses = outcomes[0].statuses + outcomes[1].statuses
    assert [fault for part in outcomes for fault in part.faults] == []
    assert errors_in(server.log_text()) == []
    assert server.alive()
    assert sum(outcomes[0].statuses.values()) + sum(outcomes[1].statuses.values()) == count
    grown = server.resident_mb() - warm
    assert grown < GROWTH_MB
    after = send_all(server.host, server.port, sound_requests(MODEL, CROP))
    assert (set(after.statuses), after.faults) == ({200}, [])
    return {"statuses": dict(statuses), "grown_mb": grown, "warm_mb": warm, "files": (files, server.open_files())}


def test_two_thousand_spoilt_requests_give_no_server_error_and_no_growth(server: RunningServer) -> None:
    found = prove(server, 2_000)
    reached = {status for status, count in found["statuses"].items() if count >= 5}
    assert {200, 400, 415, 422} <= reached, "the mutator reaches too little of the server"


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_hundred_thousand_spoilt_requests_give_no_server_error_and_no_growth(server: RunningServer) -> None:
    print(prove(server, 100_000))


def test_the_judgement_sees_what_must_not_happen() -> None:
    outcomes = Outcomes()
    for status in (200, 400, 503, 500, 502, -1, -2, -3):
        outcomes.judge(Hostile(status, b"", framed=True), status)
    outcomes.judge(Hostile(7, b"", framed=False), -1)
    assert outcomes.faults == [f"request {status}: {status}" for status in (500, 502, -1, -2, -3)]
    outcomes.judge(Hostile(8, b"", framed=True, sound=True), 400)
    assert outcomes.faults.pop() == "request 8: 400"
    assert errors_in('{"level": "info", "message": "request"}\n{"level": "error", "message": "x"}\nTraceback') != []


def test_the_same_number_makes_the_same_request() -> None:
    assert [hostile(number, MODEL, CROP) for number in range(50)] == [
        hostile(number, MODEL, CROP) for number in range(50)
    ]
    assert len({hostile(number, MODEL, CROP).data for number in range(200)}) > 190
