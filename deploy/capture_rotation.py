"""From rows to finished files: row groups by size, files by size, age and release, and what is deleted in between."""

from __future__ import annotations

import errno
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from deploy.capture_files import FOLDER_MODE, CaptureFile
from deploy.capture_retention import remove_dead_drafts, sweep
from deploy.capture_rows import Captured, Release
from tasks.params.serve import CaptureParams

GROUP_BYTES = 4_000_000
GROUP_ROWS = 4096
SWEEP_SECONDS = 600.0


class Rotation:
    """One worker's files, one at a time; only the writer's thread may call it.

    `now` is always of a monotonic clock, in seconds.

    Attributes:
        kept: rows in finished files, since the last `taken`.
    """

    def __init__(self, params: CaptureParams, abstain_below: float) -> None:
        self.kept = 0
        self._params = params
        self._folder = Path(params.folder)
        self._abstain_below = abstain_below
        self._sweep_seconds = min(SWEEP_SECONDS, params.keep_days * 86400 / 4)
        self._file: CaptureFile | None = None
        self._group: list[Captured] = []
        self._group_bytes = 0
        self._release: Release | None = None
        self._incoming = 0
        self._written = 0
        self._opened = 0.0
        self._sweep_at = 0.0

    @property
    def _rows(self) -> int:
        return len(self._group) + self._written

    def due(self, now: float) -> float:
        """Seconds until `rotate` or `tidy` has something to do."""
        moments = [self._sweep_at]
        if self._rows:
            moments.append(self._opened + self._params.rotate_seconds)
        return max(0.0, min(moments) - now)

    def begin(self) -> None:
        """Make the folder and remove the drafts of processes that died.

        Raises:
            OSError: nothing can be written there; a later `add` may find it mended.
        """
        self._folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        remove_dead_drafts(self._folder)
        if not os.access(self._folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, "this process may not write into it", str(self._folder))

    def add(self, row: Captured, now: float) -> None:
        """Take one row; whatever the disk or pyarrow raises is raised, and `lose` says how many rows went with it."""
        self._incoming = 1
        row = row.hashed(self._params.content)
        if self._release != row.release:
            self.finish()
            self._release = row.release
        if not self._rows:
            self._opened = now
        self._group.append(row)
        self._incoming = 0
        self._group_bytes += row.size
        if self._group_bytes >= GROUP_BYTES or len(self._group) >= GROUP_ROWS or self._full(self._group_bytes):
            self._write()
        if self._full(0):
            self.finish()

    def rotate(self, now: float) -> None:
        """Finish a file that is old enough; raises as `add` does."""
        if self._rows and now >= self._opened + self._params.rotate_seconds:
            self.finish()

    def tidy(self, now: float) -> None:
        """Delete what is too old or too much.

        Raises:
            OSError: the folder does not allow it; pending rows are not touched by that.
        """
        if now < self._sweep_at:
            return
        self._sweep_at = now + self._sweep_seconds
        keep = timedelta(days=self._params.keep_days)
        sweep(self._folder, keep, self._params.max_gb * 1e9, datetime.now(UTC))

    def finish(self) -> None:
        """Give readers what is pending; the next `tidy` keeps to the bounds."""
        if self._group:
            self._write()
        if self._file is None:
            return
        self._file.finish()
        self.kept += self._written
        self._file, self._written = None, 0
        self._sweep_at = 0.0

    def lose(self) -> int:
        """After an error: give up what is pending and say how many rows that was; never raises."""
        lost = self._rows + self._incoming
        if self._file:
            self._file.abandon()
        self._file, self._written, self._incoming = None, 0, 0
        self._group, self._group_bytes = [], 0
        return lost

    def taken(self) -> int:
        """The rows of finished files since the last call."""
        kept, self.kept = self.kept, 0
        return kept

    def _full(self, more: int) -> bool:
        return (self._file.size if self._file else 0) + more >= self._params.rotate_mb * 1e6

    def _write(self) -> None:
        if self._file is None:
            first = self._group[0]
            self._file = CaptureFile(self._folder, first.time, first.release, self._params.content)
        self._file.write(self._group, self._abstain_below)
        self._written += len(self._group)
        self._group, self._group_bytes = [], 0
