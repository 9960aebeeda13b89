"""Parts of scores on the way to the output: each complete or absent, found again by whoever goes on."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.errors import StageInputError, WorkspaceError
from tasks.reports.document import replacing

GROUP_BYTES = 2**23
GROUP_ROWS = 65_536
"""A row group of the output: so much, and some copies of it, is in memory while parts are put together."""

_LOCK = "lock"


@contextmanager
def working_folder(output: Path) -> Iterator[Path]:
    """The folder `.NAME.scoring` beside an output, for one run at a time.

    Raises:
        WorkspaceError: another run writes the same output.
    """
    folder = output.with_name(f".{output.name}.scoring")
    lock = _locked(folder, output)
    try:
        yield folder
    except OSError as err:
        # What a full disk says at a flush names no file.
        err.filename = err.filename or str(output)
        raise
    finally:
        with suppress(OSError):
            if [path.name for path in folder.iterdir()] == [_LOCK]:
                (folder / _LOCK).unlink()
                folder.rmdir()
        os.close(lock)


def clear_working_folder(folder: Path) -> None:
    """Remove all parts, those of earlier wishes among them; the lock stays held to the end of the run."""
    for path in folder.iterdir():
        if path.name != _LOCK:
            shutil.rmtree(path)


@contextmanager
def scratch_folder(folder: Path) -> Iterator[Path]:
    """A folder inside a working folder that is gone afterwards; one of a killed run goes first."""
    scratch = folder / "scratch"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _locked(folder: Path, output: Path) -> int:
    while True:
        folder.mkdir(exist_ok=True)
        try:
            lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except FileNotFoundError:
            continue  # the run before has just removed the folder
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as err:
            os.close(lock)
            raise WorkspaceError(
                f"another `graft score` writes {output} now; wait until it has ended, or give -o another name"
            ) from err
        with suppress(FileNotFoundError):
            if os.fstat(lock).st_ino == (folder / _LOCK).stat().st_ino:
                return lock
        os.close(lock)


class Parts:
    """The parts of one output, for one release and one listing."""

    def __init__(self, folder: Path, schema: pa.Schema, rows: int, rows_each: int) -> None:
        folder.mkdir(exist_ok=True)
        self.folder, self.schema, self.rows, self.rows_each = folder, schema, rows, rows_each

    def __len__(self) -> int:
        return -(-self.rows // self.rows_each)

    def rows_of(self, part: int) -> range:
        """Which rows of the listing a part holds."""
        return range(part * self.rows_each, min((part + 1) * self.rows_each, self.rows))

    def missing(self) -> list[int]:
        """The parts that are not there yet; what is there but damaged or of another shape is removed."""
        return [part for part in range(len(self)) if not self._is_whole(part)]

    def write(self, part: int, table: pa.Table) -> None:
        """Keep a part; complete on disk or absent."""
        with replacing(self._file(part)) as draft:
            pq.write_table(table, draft, compression="zstd", compression_level=1, write_page_checksum=True)

    def groups(self) -> Iterator[pa.Table]:
        """All rows in order, as tables of some size.

        Raises:
            StageInputError: a part was damaged since it was written; it is removed, so that it is made anew.
        """
        held: list[pa.Table] = []
        for part in range(len(self)):
            held.append(self._read(part))
            if sum(table.nbytes for table in held) >= GROUP_BYTES or sum(map(len, held)) >= GROUP_ROWS:
                yield pa.concat_tables(held).combine_chunks()
                held = []
        if held:
            yield pa.concat_tables(held).combine_chunks()

    def _file(self, part: int) -> Path:
        return self.folder / f"part-{part:08d}.parquet"

    def _is_whole(self, part: int) -> bool:
        file = self._file(part)
        if not file.exists():
            return False
        try:
            with pq.ParquetFile(file, pre_buffer=False) as found:
                whole = bool(
                    found.schema_arrow.equals(self.schema) and found.metadata.num_rows == len(self.rows_of(part))
                )
        except (OSError, pa.ArrowException):
            whole = False
        if not whole:
            file.unlink()
        return whole

    def _read(self, part: int) -> pa.Table:
        file = self._file(part)
        try:
            with pq.ParquetFile(file, pre_buffer=False, page_checksum_verification=True) as found:
                return found.read(use_threads=False)
        except (OSError, pa.ArrowException) as err:
            file.unlink(missing_ok=True)
            raise StageInputError(f"{file} was damaged and is removed; run the same command again") from err
