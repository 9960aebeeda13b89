"""The base of every report: JSON that is complete or absent, and names its version (docs/decisions/0014)."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field

from tasks.errors import StageInputError

SCHEMA_VERSION = 2
OLDEST_VERSION = 1


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place, flushed to disk, when the block ends well.

    Raises:
        OSError: it cannot be written; `filename` is set, whatever failed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        yield draft
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as err:
        # A full disk shows in a write or a flush, which do not say of what file; and nobody knows the draft's name.
        if str(draft) in (err.filename or str(draft), str(err.filename2)):
            err.filename, err.filename2 = str(path), None
        raise
    finally:
        draft.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file so that a reader sees the old content or the new, never a part."""
    with replacing(path) as draft:
        draft.write_bytes(data)


class Report(BaseModel):
    """What a stage hands on. `produced_by` names the stage to run when the file is missing."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    produced_by: ClassVar[str] = ""

    schema_version: int = Field(SCHEMA_VERSION)

    @classmethod
    def upgrade(cls, document: dict[str, Any]) -> dict[str, Any]:
        """A document of the version before as this one has it; a kind whose shape changed says how."""
        return {**document, "schema_version": SCHEMA_VERSION}

    def to_json(self) -> str:
        """Stable text: the same report gives the same bytes."""
        return self.model_dump_json(indent=2, by_alias=True) + "\n"

    def write(self, path: Path) -> None:
        write_bytes(path, self.to_json().encode())

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a report back; one of the version before is upgraded.

        Raises:
            StageInputError: the file is missing, is no report of this kind, is from a newer Graft, or from an earlier
                one and cannot be taken over.
        """
        mend = f"; run `graft adapt` (stage {cls.produced_by})" if cls.produced_by else ""
        try:
            data = path.read_bytes()
        except OSError as err:
            raise StageInputError(f"{path} cannot be read ({err.strerror}){mend}") from err
        return cls.parse(data, str(path), mend)

    @classmethod
    def parse(cls, data: bytes, source: str, mend: str = "") -> Self:
        """As `read`, of a file's content.

        Args:
            source: what holds it, for messages.
            mend: their tail.
        Raises:
            StageInputError: as `read`.
        """
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as err:
            raise StageInputError(f"{source} is not a readable {cls.__name__} (no UTF-8){mend}") from err
        try:
            document = json.loads(text)
        except ValueError as err:
            raise StageInputError(f"{source} is not a readable {cls.__name__}{mend}: {_first_line(err)}") from err
        version = document.get("schema_version", SCHEMA_VERSION) if isinstance(document, dict) else SCHEMA_VERSION
        check_version(version, source, mend)
        try:
            if version != SCHEMA_VERSION:
                text = json.dumps(cls.upgrade(document))
            return cls.model_validate_json(text)
        except (ValueError, KeyError, TypeError, AttributeError) as err:
            earlier = " of an earlier Graft" if version != SCHEMA_VERSION else ""
            raise StageInputError(
                f"{source} is not a readable {cls.__name__}{earlier}{mend}: {_first_line(err)}"
            ) from err


class Record(BaseModel):
    """A part of a report."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def check_version(version: object, source: str, mend: str) -> None:
    """Refuse a schema version that this Graft does not read.

    Args:
        source: the file, for the message.
        mend: the message's tail for a version that is none, such as "; run `graft adapt`".
    Raises:
        StageInputError: saying whether Graft or the file is to be renewed.
    """
    known = f"this Graft reads {OLDEST_VERSION} to {SCHEMA_VERSION}"
    if not isinstance(version, int) or isinstance(version, bool) or version < OLDEST_VERSION:
        raise StageInputError(f"{source} has schema_version {version!r}, {known}{mend}")
    if version > SCHEMA_VERSION:
        raise StageInputError(
            f"{source} has schema_version {version}, {known}: it was written by a newer Graft; upgrade Graft"
        )


def _first_line(err: Any) -> str:
    return " ".join(str(err).split())[:300]
