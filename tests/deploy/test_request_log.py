"""Lines of a server's log: ids, formats, and that no client forges one."""

from __future__ import annotations

import io
import json
import logging
import threading
from collections.abc import Iterator

import pytest

from deploy import log_writer
from deploy.request_log import configure_logging, log_request, request_id_of


@pytest.fixture(autouse=True)
def _untouched_root() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    for one in set(root.handlers) - set(handlers):
        one.close()
    root.handlers[:] = handlers
    root.setLevel(level)


def written(stream: io.StringIO) -> str:
    """What the stream holds when all that was logged is written."""
    for one in logging.getLogger().handlers:
        one.flush()
    return stream.getvalue()


class StuckStream(io.StringIO):
    """Takes nothing until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.entered, self.free = threading.Event(), threading.Event()

    def write(self, text: str) -> int:
        self.entered.set()
        self.free.wait(60)
        return super().write(text)


@pytest.mark.parametrize("sent", [b"a", b"0f-9._:/+=@Z", b"x" * 128])
def test_a_safe_id_is_kept(sent: bytes) -> None:
    assert request_id_of(sent) == sent.decode()


@pytest.mark.parametrize("sent", [None, b"", b"x" * 129, b"a b", b"a\nb", b"a\n", b"\xc3\xa9", b'a"', b"a\x00", b"a\\"])
def test_another_id_is_replaced_by_a_new_one(sent: bytes | None) -> None:
    made = {request_id_of(sent) for _ in range(20)}

    assert len(made) == 20
    assert all(len(one) == 32 and one.isalnum() for one in made)


def test_json_lines_hold_time_level_and_the_requests_fields() -> None:
    stream = io.StringIO()
    configure_logging("json", stream)

    log_request(logging.INFO, {"request_id": "r1", "route": "/predict", "status": 200, "reason": None})
    line = json.loads(written(stream))

    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "info",
        "logger": "graft.request",
        "message": "request",
        "request_id": "r1",
        "route": "/predict",
        "status": 200,
        "reason": None,
    }


def test_text_lines_leave_out_what_is_not_known() -> None:
    stream = io.StringIO()
    configure_logging("text", stream)

    log_request(logging.INFO, {"status": 503, "version": None, "reason": "overloaded"})

    assert written(stream).endswith(" INFO graft.request request status=503 reason=overloaded\n")


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_nothing_in_a_message_or_field_begins_another_line(log_format: str) -> None:
    stream = io.StringIO()
    configure_logging(log_format, stream)  # type: ignore[arg-type]
    forged = "a\n2026-01-01 INFO forged\r\u2028\x1b[2J\x85"

    log_request(logging.INFO, {"path": forged})
    logging.getLogger("graft.engine").error("broken: %s", forged)
    try:
        raise ValueError(forged)
    except ValueError:
        logging.getLogger("graft.engine").exception("failed")

    lines = written(stream).splitlines()
    assert stream.getvalue().isascii()
    assert "\x1b" not in stream.getvalue()
    if log_format == "json":
        assert [json.loads(line)["level"] for line in lines] == ["info", "error", "error"]
    else:
        assert not any(line.startswith("2026-01-01") for line in lines)
        assert all(line.startswith("  ") for line in lines[3:])


def test_configured_twice_a_line_comes_once() -> None:
    first, second = io.StringIO(), io.StringIO()
    configure_logging("json", first)
    configure_logging("json", second)

    log_request(logging.INFO, {})

    assert (first.getvalue(), written(second).count("\n")) == ("", 1)


def test_a_log_that_nobody_reads_stops_nobody_and_tells_what_it_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_writer, "MOST_LINES", 50)
    stream = StuckStream()
    configure_logging("json", stream)

    log_request(logging.INFO, {"place": 0})
    assert stream.entered.wait(10)
    for place in range(1, 500):
        log_request(logging.INFO, {"place": place})
    assert stream.getvalue() == ""
    stream.free.set()
    written(stream)
    log_request(logging.INFO, {"place": "last"})

    *kept, lost, last = [json.loads(line) for line in written(stream).splitlines()]
    assert [line["place"] for line in kept] == list(range(51))
    assert lost["message"].startswith("449 lines dropped")
    assert last["place"] == "last"


@pytest.mark.parametrize("fault", [BrokenPipeError, OSError, ValueError])
def test_a_reader_that_is_gone_ends_no_log_and_later_lines_are_written(
    monkeypatch: pytest.MonkeyPatch, fault: type[Exception]
) -> None:
    stream, writes = io.StringIO(), list[str]()

    def refuse(text: str) -> int:
        writes.append(text)
        raise fault

    configure_logging("json", stream)
    with monkeypatch.context() as gone:
        gone.setattr(stream, "write", refuse)
        log_request(logging.INFO, {"place": 1})
        written(stream)
    log_request(logging.INFO, {"place": 2})

    assert [json.loads(line)["place"] for line in writes] == [1]
    assert [json.loads(line)["place"] for line in written(stream).splitlines()] == [2]


def test_a_closed_stream_stops_nobody_and_the_next_configuration_writes() -> None:
    closed, open_one = io.StringIO(), io.StringIO()
    configure_logging("json", closed)
    closed.close()
    log_request(logging.INFO, {"place": 1})

    configure_logging("json", open_one)
    log_request(logging.INFO, {"place": 2})

    assert [json.loads(line)["place"] for line in written(open_one).splitlines()] == [2]
