"""A client that sends and never reads: what is kept for it is bounded, whatever it asks and is answered."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
from protocol_scene import Client, ProtocolScene, protocol_scene, wait_until

from deploy.timed_protocol import TimedProtocol

POST = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
GET = b"GET /page HTTP/1.1\r\nHost: x\r\n\r\n"
SENT_BYTES = 6_000_000
ONE_READ = 262_144
"""Most bytes that the event loop reads at once."""


@contextmanager
def sending(client: Client, request: bytes) -> Iterator[threading.Thread]:
    """Send the request again and again, 6 MB of it, or until the server has had enough."""

    def send() -> None:
        with suppress(OSError):
            client.send(request * (SENT_BYTES // len(request)))

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    try:
        yield thread
    finally:
        client.close()
        thread.join(30)


def greatest(scene: ProtocolScene, thread: threading.Thread, measure: Callable[[TimedProtocol], int]) -> int:
    """The most that was measured of a connection until it had sent all, or was ended."""
    found = 0

    def look() -> bool:
        nonlocal found
        measured = [measure(one) for one in scene.connections.connections]
        found = max([found, *measured])
        return not thread.is_alive() or not measured

    wait_until(lambda: scene.connections.connections)
    wait_until(lambda: scene.do(look))
    return found


def buffered(connection: TimedProtocol) -> int:
    return 0 if connection.transport.is_closing() else connection.transport.get_write_buffer_size()


@pytest.mark.parametrize("token", [None, "secret-secret-secret"])
def test_refusals_that_are_not_taken_are_not_heaped_up(token: str | None) -> None:
    with protocol_scene(token=token, slots=1, send_seconds=2.0) as scene:
        assert scene.do(scene.connections.admission.enter)
        client = scene.client(receive_buffer=4096)
        with sending(client, POST) as thread:
            assert greatest(scene, thread, buffered) < 300_000


def test_requests_behind_one_another_are_read_as_they_are_answered() -> None:
    with protocol_scene(send_seconds=2.0) as scene:
        client = scene.client(receive_buffer=4096)
        with sending(client, GET) as thread:
            assert greatest(scene, thread, lambda one: len(one.pipeline)) <= 2 * ONE_READ // len(GET)


def test_refusals_that_are_taken_keep_the_connection_however_many() -> None:
    with protocol_scene(slots=1) as scene:
        assert scene.do(scene.connections.admission.enter)
        client = scene.client()
        for _ in range(40):
            client.send(POST * 50)
            assert {client.reply().status for _ in range(50)} == {503}


def test_many_requests_behind_one_another_are_all_answered() -> None:
    with protocol_scene() as scene:
        client = scene.client()
        thread = threading.Thread(target=lambda: client.send(GET * 20_000), daemon=True)
        thread.start()
        assert {client.reply().status for _ in range(20_000)} == {200}
        thread.join(30)
