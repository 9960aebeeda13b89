"""What a connection refuses by itself is found in the log, as what the application answers is."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from protocol_scene import protocol_scene, wait_until

ONE_LINE = "requests refused"


@pytest.fixture(autouse=True)
def _logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "graft.request")


def lines(caplog: pytest.LogCaptureFixture, message: str = "request") -> list[dict[str, Any]]:
    """The fields of the lines so far."""
    return [getattr(one, "fields", {}) for one in list(caplog.records) if one.getMessage() == message]


def test_the_id_of_a_401_is_in_the_log_with_what_was_asked(caplog: pytest.LogCaptureFixture) -> None:
    with protocol_scene(token="secret-secret-secret") as scene:
        client = scene.client()
        client.post(b"body", headers="Authorization: Bearer guessed\r\n")
        reply = client.reply()
        client.send("GET /private HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (reply.status, client.reply().status) == (401, 401)
        first, second = lines(caplog)
        assert first["request_id"] == json.loads(reply.body)["error"]["request_id"]
        assert (first["method"], first["route"], first["status"]) == ("POST", "/predict", 401)
        assert first["reason"] == json.loads(reply.body)["error"]["code"]
        assert (second["method"], second["route"], second["path"]) == ("GET", "unmatched", "/private")
    assert "guessed" not in caplog.text


@pytest.mark.parametrize(
    ("status", "sent"),
    [
        (400, "nonsense\r\n\r\n"),
        (408, "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nb"),
        (408, "GET / HTTP/1.1\r\nHost:"),
        (413, "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 90000000\r\n\r\n"),
        (431, "GET / HTTP/1.1\r\nHost: x\r\nX-Large: " + "a" * 3000),
    ],
)
def test_every_refusal_of_a_connection_is_a_line(caplog: pytest.LogCaptureFixture, status: int, sent: str) -> None:
    with protocol_scene(header_kb=2.0, header_seconds=0.2, body_seconds=0.2) as scene:
        client = scene.client()
        client.send(sent)
        reply = client.reply()
        assert reply.status == status
        assert [(one["status"], one["request_id"]) for one in lines(caplog)] == [
            (status, reply.headers["x-request-id"])
        ]


def test_ready_made_refusals_are_one_line_with_their_number(caplog: pytest.LogCaptureFixture) -> None:
    with protocol_scene(slots=1) as scene:
        assert scene.do(scene.connections.admission.enter)
        client = scene.client()
        for _ in range(300):
            client.post(b"body")
        assert {client.reply().status for _ in range(300)} == {503}
        wait_until(lambda: sum(one["count"] for one in lines(caplog, ONE_LINE)) == 300)
        told = lines(caplog, ONE_LINE)
        assert lines(caplog) == []
        assert len(told) < 30
        assert {(one["route"], one["status"], one["reason"]) for one in told} == {("/predict", 503, "overloaded")}
