"""Parquet files of captured requests: a locked draft while it grows, and a name that a reader sees when it is whole."""

from __future__ import annotations

import fcntl
import os
import re
import secrets
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from deploy.capture_rows import Captured, Content, Release, capture_schema, capture_table

TIME_FORMAT = "%Y%m%dT%H%M%S"
FINISHED = re.compile(r"(\d{8}T\d{6})\.\d{6}Z-\d+-[0-9a-f]{8}\.parquet")
DRAFT = re.compile(r"\.(\d{8}T\d{6})\.\d{6}Z-\d+-[0-9a-f]{8}\.parquet\.draft")
FILE_MODE, FOLDER_MODE = 0o640, 0o750


def file_name(oldest: datetime) -> str:
    """A name of its own: UTC time of the oldest row, process id, and a random end (containers share process ids).

    >>> FINISHED.fullmatch(file_name(datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)))[1]
    '20260504T030201'
    """
    time = oldest.astimezone(UTC)
    return f"{time:{TIME_FORMAT}}.{time.microsecond:06}Z-{os.getpid()}-{secrets.token_hex(4)}.parquet"


def named_time(name: str) -> datetime | None:
    """The time of the oldest row by a capture's or a draft's name; None of a file that is not ours."""
    found = FINISHED.fullmatch(name) or DRAFT.fullmatch(name)
    try:
        return datetime.strptime(found[1], TIME_FORMAT).replace(tzinfo=UTC) if found else None
    except ValueError:
        return None


class CaptureFile:
    """One file, of one release; every method raises OSError or pyarrow's errors, after which only `abandon` is left."""

    def __init__(self, folder: Path, oldest: datetime, release: Release, content: Content) -> None:
        """Make the folder and a draft in it, which is locked as long as this process lives."""
        import pyarrow.parquet as pq

        folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        self.path = folder / file_name(oldest)
        self.draft = folder / f".{self.path.name}.draft"
        self._content = content
        self._file = os.fdopen(_locked(self.draft), "wb")
        schema = capture_schema(release, content)
        kinds = dict.fromkeys(_column_paths(schema), "zstd") | ({"image": "none"} if content == "inputs" else {})
        try:
            words = ["model", "version", "digest", "label"]
            self._writer: Any = pq.ParquetWriter(self._file, schema, compression=kinds, use_dictionary=words)
        except BaseException:
            self._file.close()
            self.draft.unlink(missing_ok=True)
            raise

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self._file.tell()

    def write(self, rows: Sequence[Captured], abstain_below: float) -> None:
        """Append one row group."""
        self._writer.write_table(capture_table(rows, self._content, abstain_below), row_group_size=len(rows))

    def finish(self) -> Path:
        """Close the file, bring it to the disk, and give it its name."""
        self._writer.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self.draft.rename(self.path)
        self._file.close()
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return self.path

    def abandon(self) -> None:
        """Give up the draft; never raises."""
        with suppress(Exception):
            self._writer.close()
        with suppress(OSError):
            self._file.close()
        with suppress(OSError):
            self.draft.unlink()


def _locked(draft: Path) -> int:
    """A descriptor of a new file under an exclusive lock, which the kernel gives up when the process dies."""
    while True:
        descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, FILE_MODE)
        try:
            with suppress(OSError):  # a file system without locks: such drafts go by age
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            if draft.exists():  # a process that sweeps may have had the lock first
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _column_paths(schema: Any) -> list[str]:
    """Parquet's names of the leaf columns."""
    return [f"{field.name}.list.element" if field.type.num_fields else field.name for field in schema]
