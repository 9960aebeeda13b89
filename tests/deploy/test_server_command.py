"""`graft serve` on the command line: a mistake is one line with its mend; workers as many as there are processors."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy import server
from deploy.server import default_workers, main
from deploy.settings import Flags, Settings, read_settings


def told(*options: str) -> str:
    """What the command ends with."""
    with pytest.raises(SystemExit) as ending:
        main(options)
    text = str(ending.value.code)
    assert text.startswith("graft: ")
    assert "\n" not in text
    return text


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--host", "192.0.2.1"), "serve.host '192.0.2.1' is no address of this machine"),
        (("--host", ""), "--host: serve.host: '' is not allowed"),
        (("--port", "70000"), "--port: serve.port: 70000 is not allowed"),
        (("--workers", "-1"), "--workers: serve.workers: -1 is not allowed"),
        (("--params", "nowhere.yaml"), "--params nowhere.yaml is no file"),
        (("--set", "serve.quee=3"), "did you mean 'queue'"),
        (("--set", "gate.accuracy=3"), "not of the form serve.key=value"),
        (("--workers", "1", "--set", "serve.token_file=nowhere"), "token_file"),
        (("--workers", "1", "--release", "nowhere"), "nowhere"),
    ],
)
def test_a_mistake_is_one_line_with_its_mend(
    store: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], text: str
) -> None:
    monkeypatch.chdir(store.parent)
    monkeypatch.setattr("deploy.request_log.configure_logging", lambda *_: None)
    assert text in told("--store", str(store), *(() if "--port" in options else ("--port", "0")), *options)


def test_a_wrong_params_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    file.write_text("serve:\n  queue: many\n", encoding="utf-8")
    assert "params.yaml: serve.queue: 'many'" in told("--params", str(file))


def test_the_params_of_where_one_stands_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "params.yaml").write_text("serve:\n  host: 192.0.2.1\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("deploy.request_log.configure_logging", lambda *_: None)
    assert "serve.host '192.0.2.1'" in told()


def test_a_part_of_ours_that_is_missing_is_no_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ModuleNotFoundError("No module named 'deploy.lost'", name="deploy.lost")

    monkeypatch.setattr(server, "serve", fail)
    with pytest.raises(ModuleNotFoundError):
        main(["--port", "0"])


@pytest.mark.parametrize(
    ("files", "workers"),
    [
        ({"cpu.max": "max 100000"}, 8),
        ({"cpu.max": "250000 100000"}, 2),
        ({"cpu.max": "50000 100000"}, 1),
        ({"cpu.max": "1600000 100000"}, 8),
        ({"cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "100000"}, 3),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 8),
        ({"cpu.max": "nonsense"}, 8),
        ({}, 8),
    ],
)
def test_a_worker_for_every_processor_that_may_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], workers: int
) -> None:
    for name, text in files.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n", encoding="ascii")
    monkeypatch.setattr(server, "usable_cores", lambda: 8)
    assert default_workers(tmp_path) == workers


class Bound:
    """A listening socket that says where it is, and is nowhere."""

    def __init__(self, host: str) -> None:
        self.family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._host = host

    def getsockname(self) -> tuple[str, int]:
        return self._host, 8000


def warnings_of(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, host: str, **told: str) -> list[str]:
    """What a server that listens there says at its start."""

    @contextlib.contextmanager
    def bound(*_: object) -> Iterator[Bound]:
        yield Bound(host)

    def started(_: Settings, __: object, ready: Callable[[dict[str, Any]], None]) -> None:
        ready({"model": "m", "version": "1", "digest": "d" * 64})

    monkeypatch.setattr(server, "listen", bound)
    monkeypatch.setattr(server, "_serve_here", started)
    monkeypatch.setattr("deploy.request_log.configure_logging", lambda *_: None)
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    environment = {name: value for name, value in os.environ.items() if name in told}
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="graft.server"):
        server.serve(read_settings(None, {**environment, "GRAFT_SERVE_WORKERS": "1"}, Flags()))
    assert any("serves m version 1" in line.message for line in caplog.records)
    return [line.message for line in caplog.records if line.levelno == logging.WARNING]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "fe80::1%eth0"])
def test_a_server_that_others_reach_without_a_token_says_so(
    host: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("GRAFT_SERVE_TOKEN", raising=False)
    (line,) = warnings_of(monkeypatch, caplog, host)
    assert "no token is asked for; give serve.token_file" in line
    assert warnings_of(monkeypatch, caplog, host, GRAFT_SERVE_TOKEN_FILE="token") == []
    assert warnings_of(monkeypatch, caplog, host, GRAFT_SERVE_TOKEN="secret") == []


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1"])
def test_a_server_of_this_machine_alone_says_nothing(
    host: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("GRAFT_SERVE_TOKEN", raising=False)
    assert warnings_of(monkeypatch, caplog, host) == []
