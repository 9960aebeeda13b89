"""Plain text becomes log lines, a traceback one of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from flows import raw_lines
from flows.raw_lines import FLUSH, Filter, RawLines, level_of

CHAIN = """\
Traceback (most recent call last):
  File "a.py", line 1, in <module>
    int("x")
ValueError: invalid literal

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "a.py", line 3, in <module>
    {}["y"]
KeyError: 'y'
"""
KNOWN = '{"time": "t", "level": "info", "run": "r1", "stage": "embed", "version": "1", "message": "known"}'


def told(text: str) -> list[tuple[str, str, str | None]]:
    found: list[tuple[str, str, str | None]] = []
    raw = RawLines(lambda *line: found.append(line))
    for line in text.splitlines():
        raw.feed(line)
    raw.flush()
    return found


def objects(*pieces: bytes) -> list[dict[str, object]]:
    out: list[bytes] = []
    lines = Filter(out.append)
    for piece in pieces:
        lines.feed(piece)
    lines.close()
    return [json.loads(line) for line in out]


def test_a_chained_traceback_is_one_line_whose_message_is_the_last_error() -> None:
    assert told(f"before\n{CHAIN}after\n") == [
        ("before", "info", None),
        ("KeyError: 'y'", "error", CHAIN.rstrip()),
        ("after", "info", None),
    ]


def test_two_tracebacks_in_a_row_are_not_lost() -> None:
    one = CHAIN.split("\n\n", maxsplit=1)[0] + "\n"
    text = "\n".join(str(trace) for _, _, trace in told(f"{one}between\n{one}"))
    assert text.count("ValueError: invalid literal") == 2


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("ERROR: failed to pull", "error"),
        ("2026-01-01 12:00:00 WARNING: slow", "warning"),
        ("all is well", "info"),
        ("it says the word ERROR somewhere", "info"),
    ],
)
def test_a_line_has_the_level_that_it_names(text: str, level: str) -> None:
    assert level_of(text) == level


def test_objects_pass_as_they_are_and_text_takes_their_run_and_version() -> None:
    known, wrapped = objects(f"{KNOWN}\nsome library says\n".encode())
    assert known == json.loads(KNOWN)
    assert {key: wrapped[key] for key in ("run", "stage", "version", "message", "level")} == {
        "run": "r1",
        "stage": None,
        "version": "1",
        "message": "some library says",
        "level": "info",
    }


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_lines_do_not_depend_on_how_the_bytes_are_cut(size: int) -> None:
    data = f"{KNOWN}\n{CHAIN}{KNOWN}\nno line's end \N{SNOWMAN}".encode()
    found = objects(*(data[start : start + size] for start in range(0, len(data), size)))
    assert [line["message"] for line in found] == ["known", "KeyError: 'y'", "known", "no line's end \N{SNOWMAN}"]


def test_bytes_that_are_no_text_and_json_that_is_no_line_are_wrapped() -> None:
    assert [line["message"] for line in objects(b'\xff\xfe\n{"time": broken\n{"other": 1}\n')] == [
        "\N{REPLACEMENT CHARACTER}" * 2,
        '{"time": broken',
        '{"other": 1}',
    ]


def test_the_program_acknowledges_and_ends_with_its_last_writer() -> None:
    acknowledged, acknowledge = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", raw_lines.__file__, str(acknowledge)],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=[acknowledge],
    )
    assert process.stdin is not None
    assert process.stderr is not None
    process.stdin.write(CHAIN.encode() + b"\n" + FLUSH + b"\n")
    process.stdin.flush()
    assert os.read(acknowledged, 1) == b"k"
    assert json.loads(process.stderr.readline())["exception"] == CHAIN.rstrip()
    process.stdin.write(b"last words")
    process.stdin.close()
    assert json.loads(process.stderr.read())["message"] == "last words"
    assert process.wait(10) == 0
    for descriptor in (acknowledged, acknowledge):
        os.close(descriptor)
