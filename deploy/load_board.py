"""How many connections each worker has, and its heartbeat, in memory that all of them see."""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

_ENTRY, _CONNECTIONS, _BEAT = struct.Struct("=iI"), struct.Struct("=i"), struct.Struct("=I")
_AWAY = -1


class Place:
    """A worker's line on the board; without a board it is alone and never behind."""

    def __init__(self, board: LoadBoard | None = None, number: int = 0) -> None:
        self._board, self._number = board, number

    def put(self, connections: int) -> None:
        """How many connections this worker has now."""
        if self._board is not None:
            self._board.put(self._number, connections)

    def beat(self) -> None:
        """Show the parent that this worker goes on."""
        if self._board is not None:
            self._board.beat(self._number)

    def leave(self) -> None:
        """Take no more."""
        self.put(_AWAY)

    def behind(self) -> bool:
        """Whether another worker that takes connections has fewer."""
        if self._board is None:
            return False
        loads = self._board.loads()
        return any(0 <= load < loads[self._number] for load in loads)


class LoadBoard:
    """Two numbers a worker in a shared file: its connections (int32; -1 takes none) and a count that grows as it lives.

    A stale number of connections costs balance only.
    """

    def __init__(self, file: Path, workers: int) -> None:
        """Open the board, or make it where there is none."""
        if not file.exists():
            file.write_bytes(_ENTRY.pack(_AWAY, 0) * workers)
        self._workers = workers
        with file.open("r+b") as opened:
            self._map = mmap.mmap(opened.fileno(), _ENTRY.size * workers)

    def put(self, number: int, connections: int) -> None:
        """Write one worker's number of connections."""
        _CONNECTIONS.pack_into(self._map, _ENTRY.size * number, connections)

    def beat(self, number: int) -> None:
        """Count one worker's heartbeat on; from 2^32 - 1 to 0."""
        place = _ENTRY.size * number + _CONNECTIONS.size
        _BEAT.pack_into(self._map, place, (_BEAT.unpack_from(self._map, place)[0] + 1) & 0xFFFFFFFF)

    def away(self, number: int) -> None:
        """A worker that ended."""
        self.put(number, _AWAY)

    def loads(self) -> list[int]:
        """Every worker's number of connections."""
        return [connections for connections, _ in _ENTRY.iter_unpack(self._map)]

    def beats(self) -> list[int]:
        """Every worker's count of heartbeats."""
        return [beat for _, beat in _ENTRY.iter_unpack(self._map)]
