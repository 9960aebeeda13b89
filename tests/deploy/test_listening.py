"""One socket for all workers: told faults, a drain that resets nobody, and connections go where there are fewer."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

from deploy import listening
from deploy.listening import listen, refuse_new_connections, shown_address
from deploy.load_board import LoadBoard, Place
from tasks.errors import UserError


def test_a_free_port_is_taken_for_0_and_shown() -> None:
    with listen("127.0.0.1", 0) as sock:
        assert shown_address(sock) == f"http://127.0.0.1:{sock.getsockname()[1]}"
        assert sock.getsockname()[1] > 0


def test_an_address_of_ipv6_is_shown_in_brackets() -> None:
    try:
        sock = listen("::1", 0)
    except UserError:
        pytest.skip("no IPv6 here")
    with sock:
        assert shown_address(sock).startswith("http://[::1]:")


def test_a_port_that_is_taken_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "_BIND_AGAIN_SECONDS", 0.1)
    with listen("127.0.0.1", 0) as taken, pytest.raises(UserError, match=r"port \d+ of 127.0.0.1 is taken; end what"):
        listen("127.0.0.1", taken.getsockname()[1])


def test_a_port_that_becomes_free_is_waited_for() -> None:
    import threading

    taken = listen("127.0.0.1", 0)
    port = taken.getsockname()[1]
    timer = threading.Timer(0.2, taken.close)
    timer.start()
    with listen("127.0.0.1", port) as sock:
        assert sock.getsockname()[1] == port
    timer.join()


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 300, "192.0.2.1"])
def test_a_host_that_is_none_is_told(host: str) -> None:
    with pytest.raises(UserError, match=r"serve.host '.*' is no address"):
        listen(host, 0)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a filter of Linux")
def test_who_connected_before_the_drain_is_still_accepted_and_nobody_after_it() -> None:
    with listen("127.0.0.1", 0) as sock:
        early = [socket.create_connection(sock.getsockname()) for _ in range(5)]
        if not refuse_new_connections(sock):
            pytest.skip("this kernel has no socket filters")
        late = socket.socket()
        late.settimeout(0.3)
        with pytest.raises(TimeoutError):
            late.connect(sock.getsockname())
        for client in early:
            client.sendall(b"asked")
        accepted = [sock.accept()[0] for _ in early]
        assert [one.recv(9) for one in accepted] == [b"asked"] * 5
        with pytest.raises(BlockingIOError):
            sock.accept()
        for one in (*early, *accepted, late):
            one.close()


def test_a_worker_waits_for_those_with_fewer_connections_that_still_take_some(tmp_path: Path) -> None:
    board = LoadBoard(tmp_path / "board", 3)
    places = [Place(LoadBoard(tmp_path / "board", 3), number) for number in range(3)]
    places[0].put(2)
    assert not places[0].behind()
    places[1].put(2)
    assert not places[0].behind()
    places[2].put(1)
    assert [place.behind() for place in places] == [True, True, False]
    board.away(2)
    assert [place.behind() for place in places[:2]] == [False, False]
    places[0].put(3)
    assert places[0].behind()
    places[1].leave()
    assert not places[0].behind()


def test_a_worker_alone_is_never_behind() -> None:
    place = Place()
    place.put(9)
    assert not place.behind()
