"""Who gets a slot, when it is given back, and that a refusal reaches its client."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from socket import SO_LINGER, SOL_SOCKET

import pytest
from app_scene import app_of
from asgi_client import asking
from protocol_scene import Client, ProtocolScene, SmallApp, protocol_scene, wait_until

from deploy.admission import Admission, Uploads, is_inference
from deploy.refusals import route_of


class Body:
    """An upload that notes its end."""

    def __init__(self) -> None:
        self.evicted = False

    def evict(self) -> None:
        self.evicted = True


def test_a_slot_is_given_back_once_however_often_it_is_left() -> None:
    admission = Admission(2)
    first, second = admission.enter(), admission.enter()
    assert first is not None
    assert second is not None
    assert admission.enter() is None
    for _ in range(3):
        first.leave()
    assert admission.taken == 1
    assert not admission.full


def test_the_oldest_body_makes_room() -> None:
    uploads, bodies = Uploads(100), [Body() for _ in range(3)]
    for body in bodies:
        uploads.grow(body, 30)
    uploads.grow(bodies[2], 30)
    assert [body.evicted for body in bodies] == [True, False, False]
    assert uploads.bytes == 90


def test_a_body_alone_is_bounded_by_its_own_limit_only() -> None:
    uploads, body = Uploads(100), Body()
    uploads.grow(body, 200)
    assert not body.evicted
    uploads.end(body)
    uploads.end(body)
    assert uploads.bytes == 0


@pytest.mark.parametrize(
    ("method", "path", "needs"),
    [
        ("POST", "/predict", True),
        ("POST", "/v2/models/dogs/versions/3/infer", True),
        ("POST", "/v2/models/dogs/ready", False),
        ("GET", "/predict", False),
        ("POST", "/predict/", False),
    ],
)
def test_only_inference_needs_a_slot(method: str, path: str, needs: bool) -> None:
    assert is_inference(method, path) is needs


def test_refused_requests_are_counted_under_the_routes_of_the_application(release_template: Path) -> None:
    with asking(app_of(release_template)) as client:
        documented = client.get("/openapi.json").json["paths"]
    for path in ("/predict", "/v2/models/dogs/infer", "/v2/models/dogs/versions/3/infer"):
        assert route_of("POST", path) in documented


def fill(scene: ProtocolScene) -> list[Client]:
    """Clients that hold every slot until the application opens."""
    scene.app.closed = True
    clients = [scene.client() for _ in range(2)]
    for client in clients:
        client.post(b"body")
    wait_until(lambda: scene.connections.admission.full)
    return clients


def test_beyond_the_slots_a_request_is_refused_by_its_headers_and_the_others_are_answered() -> None:
    with protocol_scene() as scene:
        clients = fill(scene)
        late = scene.client()
        late.send("POST /predict HTTP/1.1\r\nHost: x\r\nX-Request-Id: mine\r\nContent-Length: 900000\r\n\r\n")
        reply = late.reply()
        assert reply.status == 503
        assert reply.headers["retry-after"] == "1"
        error = json.loads(reply.body)["error"]
        assert (error["code"], error["request_id"], reply.headers["x-request-id"]) == ("overloaded", "mine", "mine")
        assert len(scene.app.seen) == 2
        assert scene.rejected("overloaded") == 1
        scene.app.closed = False
        assert [client.reply().status for client in clients] == [200, 200]


def test_the_ready_made_refusal_differs_from_any_other_only_by_its_id() -> None:
    with protocol_scene() as scene:
        _held = fill(scene)  # their connections hold the slots
        client = scene.client()
        for path in ("/predict", "/v2/models/dogs/infer", "/v2/models/dogs/versions/3/infer"):
            client.post(b"body", path)
            ready = client.reply()
            client.post(b"body", path, headers="X-Request-Id: mine\r\n")  # never ready-made
            made = client.reply()
            ready_id, made_id = ready.headers.pop("x-request-id"), made.headers.pop("x-request-id")
            assert (len(ready_id), made_id) == (32, "mine")
            assert ready.body.replace(ready_id.encode(), b"mine") == made.body
            for reply in (ready, made):
                assert int(reply.headers.pop("content-length")) == len(reply.body)
                reply.headers.pop("date")
            assert ready.headers == made.headers
        assert scene.rejected("overloaded") == 6


def test_a_refused_client_that_sends_its_body_all_the_same_keeps_its_connection() -> None:
    with protocol_scene() as scene:
        clients, late = fill(scene), scene.client()
        for _ in range(3):
            late.post(b"b" * 3_000_000)
            assert late.reply().status == 503
        scene.app.closed = False
        assert [client.reply().status for client in clients] == [200, 200]
        late.post(b"again")
        assert late.reply().body == b"POST /predict 5"


def test_under_v2_a_refusal_is_the_protocols_error_object() -> None:
    with protocol_scene() as scene:
        _held = fill(scene)  # their connections hold the slots
        late = scene.client()
        late.post(b"{}", "/v2/models/dogs/infer")
        assert isinstance(json.loads(late.reply().body)["error"], str)


def test_what_is_no_inference_is_answered_when_every_slot_is_taken() -> None:
    with protocol_scene() as scene:
        _held = fill(scene)  # their connections hold the slots
        client = scene.client()
        client.send("GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.reply().status == 200


def test_a_client_that_asks_before_it_sends_is_told_to_go_on_only_if_it_is_let_in() -> None:
    expecting = "POST /predict HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"
    with protocol_scene() as scene:
        polite = scene.client()
        polite.send(expecting)
        assert polite.reply().status == 100
        polite.send("body")
        assert polite.reply().body == b"POST /predict 4"
        _held = fill(scene)  # their connections hold the slots
        late = scene.client()
        late.send(expecting)
        reply = late.reply()
        assert (reply.status, reply.headers["connection"]) == (503, "close")
        assert late.ended() == b""


def test_bodies_that_are_coming_hold_no_slot() -> None:
    with protocol_scene(slots=1) as scene:
        slow = [scene.client() for _ in range(20)]
        for client in slow:
            client.send("POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbo")
        wait_until(lambda: scene.connections.uploads.bytes > 0)
        assert scene.connections.admission.taken == 0
        normal = scene.client()
        normal.post(b"body")
        assert normal.reply().status == 200
        for client in slow:
            client.send("dy")
            assert client.reply().status == 200


def test_a_body_that_is_complete_when_every_slot_is_taken_is_refused_and_the_connection_kept() -> None:
    with protocol_scene() as scene:
        slow = scene.client()
        slow.send("POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbo")
        wait_until(lambda: scene.connections.uploads.bytes > 0)
        clients = fill(scene)
        slow.send("dy")
        assert slow.reply().status == 503
        scene.app.closed = False
        assert [client.reply().status for client in clients] == [200, 200]
        slow.post(b"again")
        assert slow.reply().status == 200


def test_a_stalled_body_makes_room_for_others() -> None:
    with protocol_scene(uploads_mb=1.0, body_mb=1.0) as scene:
        stalled = scene.client()
        stalled.send(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\n" + b"b" * 800_000)
        wait_until(lambda: scene.connections.uploads.bytes >= 800_000)
        other = scene.client()
        other.send(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\n" + b"b" * 800_000)
        assert stalled.reply().status == 408
        other.send(b"b" * 100_000)
        assert other.reply().body == b"POST /predict 900000"
        wait_until(lambda: scene.connections.uploads.bytes == 0)


def test_a_client_that_goes_while_it_is_answered_gives_its_slot_back() -> None:
    with protocol_scene(slots=3, app=SmallApp(closed=True)) as scene:
        for reset in (False, True, False):
            client = scene.client()
            client.post(b"body")
            wait_until(lambda: scene.connections.admission.taken == 1)
            if reset:
                client.sock.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
            wait_until(lambda: not scene.connections.connections)
            wait_until(lambda: scene.connections.admission.taken == 0)


def test_a_client_that_goes_while_it_sends_leaves_nothing_behind() -> None:
    with protocol_scene() as scene:
        client = scene.client()
        client.send(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\n" + b"b" * 500_000)
        wait_until(lambda: scene.connections.uploads.bytes > 0)
        client.close()
        wait_until(lambda: scene.connections.uploads.bytes == 0)
        assert not scene.connections.tasks


def test_pipelined_requests_take_their_slots_one_after_another() -> None:
    with protocol_scene(slots=1) as scene:
        client = scene.client()
        one = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody"
        client.send(one * 20)
        assert [client.reply().status for _ in range(20)] == [200] * 20


def test_a_refusal_among_pipelined_requests_ends_the_connection() -> None:
    with protocol_scene() as scene:
        clients, late = fill(scene), scene.client()
        one = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody"
        late.send(b"GET /first HTTP/1.1\r\nHost: x\r\n\r\n" + one * 3000)
        assert late.reply().body == b"GET /first 0"
        assert late.reply().status == 503
        late.ended()
        scene.app.closed = False
        assert [client.reply().status for client in clients] == [200, 200]


def test_without_the_token_a_body_is_not_read() -> None:
    with protocol_scene(token="secret") as scene:
        client = scene.client()
        client.send("POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\n")
        reply = client.reply()
        assert (reply.status, reply.headers["www-authenticate"]) == (401, 'Bearer realm="graft"')
        client.close()
        client = scene.client()
        client.post(b"body", headers="Authorization: Bearer secret\r\n")
        assert client.reply().status == 200
        client.post(b"", "/open")
        assert client.reply().status == 200
        assert len(scene.app.seen) == 2
