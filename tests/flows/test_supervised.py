"""How output becomes lines."""

from __future__ import annotations

import pytest

from flows import supervised
from flows.supervised import LineReader


def lines_of(*pieces: bytes) -> list[str]:
    lines: list[str] = []
    reader = LineReader(lines.append)
    for piece in pieces:
        reader.feed(piece)
    reader.close()
    return lines


def test_lines_are_told_as_soon_as_they_end() -> None:
    lines: list[str] = []
    reader = LineReader(lines.append)
    reader.feed(b"one\ntw")
    assert lines == ["one"]
    reader.feed(b"o\n")
    assert lines == ["one", "two"]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_lines_do_not_depend_on_how_the_output_is_cut(size: int) -> None:
    data = "first\r\nn\N{LATIN SMALL LETTER A WITH DIAERESIS}chste\n\n  indented\nlast".encode()
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    assert lines_of(*pieces) == ["first", "n\N{LATIN SMALL LETTER A WITH DIAERESIS}chste", "  indented", "last"]


def test_of_a_progress_bar_a_few_states_and_the_last_one_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervised, "PROGRESS_SECONDS", 3600.0)
    told = lines_of(*(f"\r{percent}%".encode() for percent in range(101)), b"\nend\n")
    assert told == ["0%", "100%", "end"]


def test_a_flood_without_a_lines_end_is_cut() -> None:
    told = lines_of(*[b"x" * 50_000] * 4)
    assert "".join(told) == "x" * 200_000
    assert len(told) == 2


def test_colours_and_cursor_moves_are_left_out() -> None:
    assert lines_of(b"\x1b[32mgreen\x1b[0m\x1b[A\n") == ["green"]


def test_the_tail_keeps_the_last_lines() -> None:
    reader = LineReader(lambda line: None)
    reader.feed(b"".join(b"%d\n" % number for number in range(100)))
    assert list(reader.tail)[-1] == "99"
    assert len(reader.tail) == supervised.TAIL_LINES
