"""How many connections each worker has, in memory that all of them see."""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

_ENTRY = struct.Struct("=i")
_AWAY = -1


class Place:
    """A worker's line on the board; without a board it is alone and never behind."""

    def __init__(self, board: LoadBoard | None = None, number: int = 0) -> None:
        self._board, self._number = board, number

    def put(self, connections: int) -> None:
        """How many connections this worker has now."""
        if self._board is not None:
            self._board.put(self._number, connections)

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
    """One int32 a worker in a shared file; -1 for one that takes no connections. A stale value costs balance only."""

    def __init__(self, file: Path, workers: int) -> None:
        """Open the board, or make it where there is none."""
        if not file.exists():
            file.write_bytes(_ENTRY.pack(_AWAY) * workers)
        self._workers = workers
        with file.open("r+b") as opened:
            self._map = mmap.mmap(opened.fileno(), _ENTRY.size * workers)

    def put(self, number: int, connections: int) -> None:
        """Write one worker's line."""
        _ENTRY.pack_into(self._map, _ENTRY.size * number, connections)

    def away(self, number: int) -> None:
        """A worker that ended."""
        self.put(number, _AWAY)

    def loads(self) -> list[int]:
        """Every worker's line."""
        return [_ENTRY.unpack_from(self._map, _ENTRY.size * number)[0] for number in range(self._workers)]
