"""The server as a process: what it says, how it ends, and that it comes back."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from release_scene import point
from server_scene import ServerProcess, lives, png, refused, server, wait_until


@pytest.fixture(scope="module")
def shared(store_template: Path) -> Iterator[ServerProcess]:
    """A server of two workers for tests that only ask."""
    with server("--store", store_template, "--workers", 2) as running:
        yield running


def test_a_server_says_where_it_is_and_what_it_serves(shared: ServerProcess) -> None:
    line = shared.started
    assert line is not None
    assert (line["workers"], line["version"]) == (2, "1")
    assert f"digest {line['digest'][:12]}" in line["message"]
    assert len(shared.children()) == 2
    status, answer = shared.ask()
    assert (status, answer["version"]) == (200, "1")
    assert shared.ask("GET", "/v2/health/ready")[0] == 200


def test_new_connections_are_shared_evenly(shared: ServerProcess) -> None:
    clients = [socket.create_connection(("127.0.0.1", shared.port)) for _ in range(40)]
    for client in clients:
        client.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b" 200 OK" in client.recv(65536)
    held = [_connections_of(pid, shared.port) for pid in shared.children()]
    for client in clients:
        client.close()
    assert sum(held) == 40
    assert min(held) >= 15, held


def test_a_release_folder_is_served_in_the_stores_place(release: Path) -> None:
    with server("--release", release, "--workers", 1) as running:
        status, answer = running.ask()
        assert status == 200
        assert answer["version"] == answer["digest"][:12]


@pytest.mark.slow
def test_lines_are_text_where_text_is_wanted(release: Path) -> None:
    with server("--release", release, "--workers", 1, "--set", "serve.log_format=text", ready=False) as running:
        wait_until(lambda: "http://127.0.0.1:" in running.messages())


def test_a_port_that_is_taken_is_one_line(release: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"port {port} of 127.0.0.1 is taken" in refused("--release", release, "--port", port)


@pytest.mark.parametrize("workers", [pytest.param("1", marks=pytest.mark.slow), "2"])
def test_a_store_without_a_release_in_production_is_one_line(tmp_path: Path, workers: str) -> None:
    (tmp_path / "store").mkdir()
    assert "graft: " in refused("--store", tmp_path / "store", "--workers", workers, "--port", "0")


@pytest.mark.slow
def test_a_pointer_to_a_release_that_is_not_there_is_one_line(store: Path) -> None:
    point(store, "0" * 64, 2)
    assert "0" * 12 in refused("--store", store, "--workers", "2", "--port", "0")


@pytest.mark.slow
def test_ctrl_c_is_as_good(store: Path) -> None:
    with server("--store", store, "--workers", 2) as running:
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(30) == 0


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_a_second_signal_ends_a_server_at_once(store: Path, workers: int) -> None:
    with server("--store", store, "--workers", workers, "--set", "serve.unready_seconds=600") as running:
        pids = running.children()
        shared = [_shared_folder(pid) for pid in pids]
        running.process.send_signal(signal.SIGTERM)
        wait_until(lambda: running.ask("GET", "/v2/health/ready")[0] == 503)
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(30) == 128 + signal.SIGTERM
        wait_until(lambda: not any(lives(pid) for pid in pids))
        assert not any(folder.exists() for folder in shared)


def test_a_server_is_unready_before_it_refuses_anybody(store: Path) -> None:
    with server("--store", store, "--workers", 1, "--set", "serve.unready_seconds=600") as running:
        kept = running.connect()
        kept.request("GET", "/v2/health/ready")
        assert kept.getresponse().read() is not None
        running.process.send_signal(signal.SIGTERM)
        wait_until(lambda: running.ask("GET", "/v2/health/ready")[0] == 503)
        assert running.ask("GET", "/v2/health/live")[0] == 200
        assert running.ask()[0] == 200
        kept.close()
        running.process.send_signal(signal.SIGTERM)


@pytest.mark.parametrize(
    ("workers", "keep"),
    [
        pytest.param(2, False, id="two-workers-new-connections"),
        pytest.param(2, True, id="two-workers-kept-connections", marks=pytest.mark.slow),
        pytest.param(1, True, id="one-worker-kept-connections"),
        pytest.param(1, False, id="one-worker-new-connections", marks=pytest.mark.slow),
    ],
)
def test_sigterm_under_load_loses_no_accepted_request(store: Path, workers: int, keep: bool) -> None:
    with server("--store", store, "--workers", workers, "--set", "serve.queue=64") as running:
        pids, port, found, faults, lock = running.children(), running.port, list[int](), list[str](), threading.Lock()

        def ask_until_refused() -> None:
            while True:
                try:
                    client = socket.create_connection(("127.0.0.1", port), timeout=60)
                except OSError:
                    return  # never accepted
                with client:
                    while True:
                        outcome, closing = _ask(client)
                        with lock:
                            found.append(outcome) if isinstance(outcome, int) else faults.append(outcome)
                        if closing or not keep:
                            break

        threads = [threading.Thread(target=ask_until_refused) for _ in range(8)]
        for thread in threads:
            thread.start()
        wait_until(lambda: len(found) > 100)
        running.process.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join(60)
        assert running.process.wait(30) == 0
        wait_until(lambda: not any(lives(pid) for pid in pids))
        assert faults == []
        assert set(found) == {200}


def _ask(client: socket.socket) -> tuple[int | str, bool]:
    """Status, or what was lost; and whether the server ends the connection."""
    body = png()
    try:
        client.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        reply = b""
        while b"\r\n\r\n" not in reply:
            part = client.recv(65536)
            if not part:
                return f"ended after {reply!r}", True
            reply += part
        head, _, content = reply.partition(b"\r\n\r\n")
        size = next(int(line.split()[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
        while len(content) < size:
            content += client.recv(65536)
        return int(head.split()[1]), b"connection: close" in head.lower()
    except OSError as err:
        return str(err), True


def test_a_connection_that_idles_does_not_hold_the_end_up(store: Path) -> None:
    with server("--store", store, "--workers", 1) as running:
        idle, fresh = running.connect(), running.connect()
        idle.request("GET", "/v2/health/live")
        idle.getresponse().read()
        fresh.connect()
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(25) == 0
        assert idle.sock.recv(1) == b""
        assert fresh.sock.recv(1) == b""


def test_what_does_not_come_to_an_end_is_cut_off_after_the_drain(store: Path) -> None:
    with server("--store", store, "--workers", 1, "--set", "serve.drain_seconds=0.3") as running:
        slow = running.connect()
        slow.connect()
        slow.sock.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nb")
        assert running.ask("GET", "/v2/health/live")[0] == 200
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(25) == 0
        assert "1 connection cut off" in running.messages()
        slow.close()


def test_a_body_that_was_coming_is_waited_for(store: Path) -> None:
    with server("--store", store, "--workers", 1) as running:
        body, slow = png(), running.connect()
        slow.connect()
        slow.sock.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body[:50])
        assert running.ask("GET", "/v2/health/live")[0] == 200
        running.process.send_signal(signal.SIGTERM)
        time.sleep(0.6)
        slow.sock.sendall(body[50:])
        assert b" 200 OK" in slow.sock.recv(65536)
        assert running.process.wait(25) == 0


def test_a_server_that_was_killed_leaves_nobody_and_starts_again_on_its_port(store: Path) -> None:
    with server("--store", store, "--workers", 2) as running:
        port, pids = running.port, running.children()
        shared = _shared_folder(pids[0])
        assert shared.is_dir()
        os.kill(running.process.pid, signal.SIGKILL)
        began = time.monotonic()
        with server("--store", store, "--workers", 2, "--port", port) as again:
            print(f"ready again after {time.monotonic() - began:.2f} s")
            assert again.ask()[0] == 200
            wait_until(lambda: not any(lives(pid) for pid in pids))
            wait_until(lambda: not shared.exists())
            its_own = _shared_folder(again.children()[0])
            assert its_own.is_dir()
        assert not its_own.exists()


def _shared_folder(worker: int) -> Path:
    """Where the workers of a server keep what they share."""
    variables = Path(f"/proc/{worker}/environ").read_bytes().decode().split("\0")
    return Path(next(one.partition("=")[2] for one in variables if one.startswith("PROMETHEUS_MULTIPROC_DIR=")))


def test_a_worker_that_dies_is_replaced_while_the_other_serves(store: Path) -> None:
    with server("--store", store, "--workers", 2) as running:
        first = running.children()
        os.kill(first[0], signal.SIGKILL)
        wait_until(lambda: "was ended by SIGKILL; starting another" in running.messages())
        assert running.ask()[0] == 200
        wait_until(lambda: len(set(running.children()) - set(first)) == 1)
        fresh = (set(running.children()) - set(first)).pop()
        wait_until(lambda: _answers(running, fresh))


def test_a_worker_that_hangs_is_killed_and_replaced(store: Path) -> None:
    with server("--store", store, "--workers", 2, "--set", "serve.hung_seconds=2") as running:
        first = running.children()
        os.kill(first[0], signal.SIGSTOP)
        wait_until(lambda: "hangs: no sign of it for 2 s" in running.messages())
        wait_until(lambda: "was ended by SIGKILL; starting another" in running.messages())
        wait_until(lambda: len(set(running.children()) - set(first)) == 1)
        fresh = (set(running.children()) - set(first)).pop()
        wait_until(lambda: _answers(running, fresh))
        assert first[1] in running.children()
        assert running.messages().count("hangs") == 1


def _answers(running: ServerProcess, pid: int) -> bool:
    """Whether the metrics name the new worker: it serves."""
    return f'pid="{pid}"' in str(running.ask("GET", "/metrics")[1])


@pytest.mark.slow
def test_a_worker_that_no_store_lets_back_is_tried_until_one_does_while_the_other_serves(store: Path) -> None:
    with server("--store", store, "--workers", 2) as running:
        first = running.children()
        gone = store.rename(store.with_name("gone"))
        os.kill(first[0], signal.SIGKILL)
        wait_until(
            lambda: running.messages().count("worker 0 cannot serve") + running.messages().count("worker 1 cannot") > 5
        )
        assert running.ask()[0] == 200
        gone.rename(store)
        wait_until(lambda: (fresh := set(running.children()) - {first[0], first[1]}) and _answers(running, fresh.pop()))


@pytest.mark.slow
def test_workers_that_die_at_once_are_given_up(store: Path) -> None:
    with server("--store", store, "--workers", 2) as running:
        seen: set[int] = set()

        def kill_all() -> bool:
            for pid in running.children() if running.process.poll() is None else []:
                seen.add(pid)
                os.kill(pid, signal.SIGKILL)
            return running.process.poll() is not None

        wait_until(kill_all)
        assert running.process.returncode == 1
        assert "times within 10 s of its start" in running.messages()
        assert len(seen) >= 5


def _connections_of(pid: int, port: int) -> int:
    import psutil

    found = psutil.Process(pid).net_connections("tcp")
    return sum(one.status == psutil.CONN_ESTABLISHED and one.laddr.port == port for one in found)
