"""What a client owes has a deadline, what it sends a limit, and a request that may be read in two ways is refused."""

from __future__ import annotations

import json
import time

import pytest
from protocol_scene import PATIENCE, SmallApp, protocol_scene, wait_until

SHORT = 0.2
GET = "GET /page HTTP/1.1\r\nHost: x\r\n\r\n"


def test_requests_one_after_another_share_a_connection() -> None:
    with protocol_scene() as scene:
        client = scene.client()
        for size in (0, 1, 300_000):
            client.post(b"b" * size)
            assert client.reply().body == b"POST /predict %d" % size


def test_a_chunked_body_reaches_the_application_whole() -> None:
    with protocol_scene() as scene:
        client = scene.client()
        client.send("POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(3):
            client.send("5\r\nhello\r\n")
        client.send("0\r\nTrailer: unread\r\n\r\n")
        assert client.reply().body == b"POST /predict 15"


def test_pipelined_requests_are_answered_in_their_order() -> None:
    with protocol_scene() as scene:
        client = scene.client()
        client.send("".join(f"GET /{number} HTTP/1.1\r\nHost: x\r\n\r\n" for number in range(50)))
        assert [client.reply().body for _ in range(50)] == [b"GET /%d 0" % number for number in range(50)]


def test_what_is_wrong_behind_a_pipelined_request_does_not_spoil_its_answer() -> None:
    with protocol_scene() as scene:
        scene.app.closed = True
        client = scene.client()
        client.post(b"body")
        wait_until(lambda: scene.app.seen)
        client.send("nonsense\r\n\r\n")
        time.sleep(0.05)
        scene.app.closed = False
        assert client.reply().body == b"POST /predict 4"
        assert client.ended() == b""


def test_headers_that_never_end_are_refused_in_time() -> None:
    with protocol_scene(header_seconds=SHORT) as scene:
        client = scene.client()
        client.send("GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        reply = client.reply()
        assert reply.status == 408
        assert reply.headers["connection"] == "close"
        assert client.ended() == b""
        assert scene.rejected("deadline") == 1


def test_a_byte_now_and_then_does_not_move_the_deadline_of_the_headers() -> None:
    with protocol_scene(header_seconds=SHORT) as scene:
        client = scene.client()
        status = _dribble(client, b"GET / HTTP/1.1\r\nX-Slow: " + b"a" * 2000)
        assert status == 408


def test_empty_lines_are_no_way_to_stay() -> None:
    with protocol_scene(header_seconds=SHORT, idle_seconds=SHORT) as scene:
        client = scene.client()
        client.send(GET)
        client.reply()
        assert _dribble(client, b"\r\n" * 2000) == 408


def test_a_connection_that_says_nothing_is_closed() -> None:
    with protocol_scene(header_seconds=SHORT) as scene:
        assert scene.client().ended() == b""


def test_a_connection_between_two_requests_is_closed_after_a_while() -> None:
    with protocol_scene(idle_seconds=SHORT) as scene:
        client = scene.client()
        client.send(GET)
        assert client.reply().status == 200
        assert client.ended() == b""


def test_a_connection_whose_refused_body_was_read_is_closed_after_a_while_too() -> None:
    with protocol_scene(slots=1, idle_seconds=SHORT) as scene:
        assert scene.do(scene.connections.admission.enter)
        client = scene.client()
        client.send("POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n")
        assert client.reply().status == 503
        client.send("body")
        assert client.ended() == b""


def test_a_body_has_one_deadline_for_the_whole() -> None:
    with protocol_scene(body_seconds=SHORT) as scene:
        client = scene.client()
        client.send("POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n")
        assert _dribble(client, b"b" * 2000) == 408
        assert scene.app.seen == []
        assert scene.rejected("deadline") == 1


def test_a_client_that_does_not_take_its_answer_is_cut_off() -> None:
    with protocol_scene(send_seconds=SHORT) as scene:
        client = scene.client(receive_buffer=4096)
        client.send("GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_until(lambda: scene.rejected("deadline"))
        wait_until(lambda: not scene.connections.connections)
        with pytest.raises(OSError, match="reset"):
            client.ended()


def test_an_answer_that_is_taken_slowly_but_in_time_is_whole() -> None:
    with protocol_scene() as scene:
        client = scene.client(receive_buffer=65536)
        client.send("GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
        assert len(client.reply().body) == 50_000_000


@pytest.mark.parametrize("ended", [True, False])
def test_headers_beyond_the_limit_are_refused_whether_they_end_or_not(ended: bool) -> None:
    with protocol_scene(header_kb=2.0) as scene:
        client = scene.client()
        client.send("GET / HTTP/1.1\r\nHost: x\r\nX-Large: " + "a" * 3000 + ("\r\n\r\n" if ended else ""))
        assert client.reply().status == 431
        assert client.ended() == b""
        assert scene.rejected("header") == 1


def test_headers_up_to_the_limit_are_read() -> None:
    with protocol_scene(header_kb=2.0) as scene:
        client = scene.client()
        client.send("GET / HTTP/1.1\r\nHost: x\r\nX-Large: " + "a" * 1900 + "\r\n\r\n")
        assert client.reply().status == 200


def test_a_body_that_is_announced_too_large_is_refused_before_it_comes() -> None:
    with protocol_scene(body_mb=0.01) as scene:
        client = scene.client()
        client.send("POST /predict HTTP/1.1\r\nHost: x\r\nX-Request-Id: mine\r\nContent-Length: 10001\r\n\r\n")
        reply = client.reply()
        assert reply.status == 413
        assert json.loads(reply.body)["error"]["request_id"] == reply.headers["x-request-id"] == "mine"
        assert scene.app.seen == []


def test_a_client_that_sends_its_too_large_body_all_the_same_reads_the_refusal() -> None:
    with protocol_scene(body_mb=0.01) as scene:
        client = scene.client()
        client.post(b"b" * 8_000_000)
        assert client.reply().status == 413
        assert client.ended() == b""


def test_a_chunked_body_is_refused_when_it_has_become_too_large() -> None:
    with protocol_scene(body_mb=0.01) as scene:
        client = scene.client()
        client.send("POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        client.send(b"2710\r\n" + b"b" * 10_000 + b"\r\n1\r\nb\r\n")
        assert client.reply().status == 413


def test_trailers_without_an_end_are_refused() -> None:
    with protocol_scene(body_mb=0.01) as scene:
        client = scene.client()
        client.send("POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nTrailer: ")
        client.send(b"t" * 60_000)
        assert client.reply().status == 413


@pytest.mark.parametrize(
    "head",
    [
        "Content-Length: 4\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 4",
        "Content-Length: 4\r\nContent-Length: 5",
        "Content-Length: 4, 4",
        "Content-Length: -1",
        "Content-Length: +4",
        "Content-Length: 99999999999999999999999",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding : chunked",
        "Bad Name: x",
        "X: a\x00b",
        " folded: x",
    ],
)
def test_headers_that_may_be_read_in_two_ways_are_refused(head: str) -> None:
    with protocol_scene() as scene:
        client = scene.client()
        client.send(f"POST /predict HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n")
        assert client.reply().status == 400
        assert client.ended() == b""
        assert scene.app.seen == []


@pytest.mark.parametrize("chunk", ["zz\r\nhello\r\n", "5\r\nhello!\r\n", "-5\r\nhello\r\n", "5\nhello\r\n", "\r\n"])
def test_a_chunk_that_is_none_is_refused(chunk: str) -> None:
    with protocol_scene() as scene:
        client = scene.client()
        client.send(f"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}0\r\n\r\n")
        assert client.reply().status == 400
        assert client.ended() == b""
        assert scene.app.seen == []


@pytest.mark.parametrize(
    "line",
    [
        "nonsense",
        "GET / HTTP/3.7",
        "GET http://[ HTTP/1.1",
        "CONNECT x:443 HTTP/1.1",
        "GET /\xff\xfe HTTP/1.1",
        "\x16\x03",
    ],
)
def test_a_request_line_that_is_none_is_refused(line: str) -> None:
    with protocol_scene() as scene:
        client = scene.client()
        client.send(f"{line}\r\nHost: x\r\n\r\n".encode("latin-1"))
        assert client.reply().status == 400
        assert client.ended() == b""


def test_a_client_that_was_refused_may_go_on_sending_only_so_long() -> None:
    with protocol_scene(body_seconds=SHORT) as scene:
        client = scene.client()
        client.send("nonsense\r\n\r\n")
        assert client.reply().status == 400
        wait_until(lambda: not scene.connections.connections)


@pytest.mark.parametrize("hosts", ["", "Host: x\r\nHost: x\r\n", "Host: x\r\nHOST: y\r\n"])
def test_a_request_that_does_not_name_one_host_is_refused(hosts: str) -> None:
    with protocol_scene() as scene:
        client = scene.client()
        client.send(f"POST /predict HTTP/1.1\r\n{hosts}Content-Length: 4\r\n\r\nbody")
        reply = client.reply()
        assert (reply.status, reply.headers["connection"]) == (400, "close")
        assert "Host" in json.loads(reply.body)["error"]["message"]
        assert client.ended() == b""
        assert scene.app.seen == []


def test_an_old_request_may_name_no_host_but_not_two() -> None:
    with protocol_scene() as scene:
        for hosts, status in (("", 200), ("Host: x\r\n", 200), ("Host: x\r\nHost: y\r\n", 400)):
            client = scene.client()
            client.send(f"GET /page HTTP/1.0\r\n{hosts}\r\n")
            assert client.reply().status == status


def test_a_wish_for_another_protocol_is_answered_in_this_one() -> None:
    with protocol_scene() as scene:
        client = scene.client()
        client.send("GET /page HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        reply = client.reply()
        assert (reply.status, reply.body) == (200, b"GET /page 0")
        client.send(GET)
        assert client.reply().status == 200


def test_a_post_that_wishes_for_http_2_is_answered_with_its_body() -> None:
    with protocol_scene() as scene:
        client = scene.client()
        client.post(b"body", headers="Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA\r\n")
        assert client.reply().body == b"POST /predict 4"


def test_a_reply_without_a_body_is_sent() -> None:
    with protocol_scene() as scene:
        client = scene.client()
        client.send("HEAD /page HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        head = client.ended()
        assert head.startswith(b"HTTP/1.1 200")
        assert head.endswith(b"\r\n\r\n")


def test_http_1_0_is_answered_and_closed() -> None:
    with protocol_scene() as scene:
        client = scene.client()
        client.send("GET /page HTTP/1.0\r\n\r\n")
        assert client.reply().body == b"GET /page 0"
        assert client.ended() == b""


def test_an_application_that_fails_answers_500_and_gives_its_slot_back() -> None:
    with protocol_scene(slots=1) as scene:
        client = scene.client()
        for _ in range(3):
            client.post(b"body", "/predict?fail")
            assert client.reply().status == 500
            client = scene.client()
        wait_until(lambda: scene.connections.admission.taken == 0)


def test_beyond_the_limit_of_connections_new_ones_wait() -> None:
    with protocol_scene(connections=2, app=SmallApp(closed=True), slots=9) as scene:
        busy = [scene.client() for _ in range(2)]
        for client in busy:
            client.post(b"body")
        wait_until(lambda: len(scene.app.seen) == 2)
        late = scene.client()
        late.post(b"late")
        time.sleep(0.1)
        assert len(scene.connections.connections) == 2
        scene.app.closed = False
        assert [client.reply().status for client in busy] == [200, 200]
        assert late.reply().body == b"POST /predict 4"


def test_a_connection_between_requests_makes_room_for_a_new_one() -> None:
    with protocol_scene(connections=1) as scene:
        first = scene.client()
        first.send(GET)
        assert first.reply().status == 200
        second = scene.client()
        second.send(GET)
        assert second.reply().status == 200
        assert first.ended() == b""


def test_the_connection_that_waited_longest_makes_room_and_a_new_one_never() -> None:
    with protocol_scene(connections=3, idle_seconds=60.0) as scene:
        older, newer = scene.client(), scene.client()
        for client in (older, newer):
            client.send(GET)
            assert client.reply().status == 200
            time.sleep(0.02)
        fresh = scene.client()
        wait_until(lambda: len(scene.connections.connections) == 3)
        another = scene.client()
        another.send(GET)
        assert another.reply().status == 200
        assert older.ended() == b""
        for client in (newer, fresh):
            client.send(GET)
            assert client.reply().status == 200


def test_150_slow_and_half_open_clients_are_closed_while_others_are_served() -> None:
    starts = [
        b"",
        b"GET / HT",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: ",
        b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nb",
    ]
    with protocol_scene(slots=1, header_seconds=1.0, body_seconds=1.0) as scene:
        slow = [scene.client() for _ in range(150)]
        for number, client in enumerate(slow):
            client.send(starts[number % len(starts)])
        wait_until(lambda: len(scene.connections.connections) == 150)
        normal, served = scene.client(), 0
        while len(scene.connections.connections) > 1:
            normal.post(b"body")
            assert normal.reply().status == 200
            served += 1
        assert served > 0
        for client in slow:
            assert client.ended()[:12] in (b"", b"HTTP/1.1 408")


def _dribble(client: object, data: bytes) -> int:
    """Send byte after byte until the server has had enough; the status that it refused with."""
    from protocol_scene import Client

    assert isinstance(client, Client)
    give_up = time.monotonic() + PATIENCE
    client.sock.settimeout(0.01)
    try:
        for place in range(len(data)):
            client.send(data[place : place + 1])
            try:
                return client.reply().status
            except TimeoutError:
                assert time.monotonic() < give_up, "a slow client was let be"
    finally:
        client.sock.settimeout(PATIENCE)
    raise AssertionError("all was sent and nothing refused")
