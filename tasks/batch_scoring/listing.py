"""A source written down as a file of lines, in order, with a digest: what a run works off and resumes by."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from tasks.batch_scoring.entries import Entry, entry_of

SORTED_AT_ONCE = 32_768
"""Entries that are in memory together while a folder is listed, some 15 MB."""

_MERGED_AT_ONCE = 64
_REPORT_EVERY = 10_000


@dataclass(frozen=True)
class Listing:
    """Entries in a file, a line each; `digest` is of all lines, so of every path, size and time of change."""

    file: Path
    entries: int
    digest: str

    def read(self, wanted: Iterable[range]) -> Iterator[Entry]:
        """The entries of ascending ranges of rows."""
        with self.file.open("rb") as lines:
            at = 0
            for rows in wanted:
                for _ in range(rows.start - at):
                    next(lines)
                yield from map(entry_of, islice(lines, len(rows)))
                at = rows.stop


def write_listing(
    entries: Iterable[Entry], by_path: bool, folder: Path, on_listed: Callable[[int], None] = lambda count: None
) -> Listing:
    """Write entries to `folder`/listing, through pieces on disk where they are many.

    Args:
        by_path: sort by path; otherwise the order is kept.
        on_listed: hears every so often how many there are.
    """
    file, digest, count = folder / "listing", hashlib.sha256(), 0
    counted = _told(entries, on_listed)
    lines = _sorted_lines(counted, folder) if by_path else (entry.line() for entry in counted)
    with file.open("wb") as out:
        for line in lines:
            digest.update(line)
            out.write(line)
            count += 1
    return Listing(file, count, digest.hexdigest())


def _told(entries: Iterable[Entry], on_listed: Callable[[int], None]) -> Iterator[Entry]:
    for number, entry in enumerate(entries, 1):
        if number % _REPORT_EVERY == 0:
            on_listed(number)
        yield entry


def _sorted_lines(entries: Iterator[Entry], folder: Path) -> Iterator[bytes]:
    """Lines by path: sorted pieces on disk, merged; one piece alone never touches it."""
    pieces: list[Path] = []
    made = 0
    while chunk := list(islice(entries, SORTED_AT_ONCE)):
        lines = [entry.line() for entry in sorted(chunk, key=lambda entry: (entry.path, entry.line()))]
        if not pieces and len(chunk) < SORTED_AT_ONCE:
            yield from lines
            return
        pieces.append(_written(folder / f"piece-{made}", lines))
        made += 1
        if len(pieces) == _MERGED_AT_ONCE:
            pieces = [_written(folder / f"piece-{made}", _merged(pieces))]
            made += 1
    yield from _merged(pieces)


def _written(file: Path, lines: Iterable[bytes]) -> Path:
    with file.open("wb") as out:
        out.writelines(lines)
    return file


def _merged(pieces: list[Path]) -> Iterator[bytes]:
    with ExitStack() as opened:
        files = [opened.enter_context(piece.open("rb")) for piece in pieces]
        yield from heapq.merge(*files, key=lambda line: (entry_of(line).path, line))
    for piece in pieces:
        piece.unlink()
