"""Append-only lists on refs/graft/state: one JSON object a line, one file a kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import ValidationError

from flows.state import REF, StateMoved, StateRef
from tasks.errors import StageInputError
from tasks.reports.document import Record

RecordT = TypeVar("RecordT", bound=Record)
ATTEMPTS = 50
"""A loser of the race reads again and decides again; each round somebody wins."""

VERSIONS, HISTORY, TEST_USES = "versions.jsonl", "history.jsonl", "test_uses.jsonl"
SHADOWS = "shadows.jsonl"
SUPERSEDED = "superseded.jsonl"
"""Lines of the history that a machine had written when another's were at the remote first: they lost, or have another
number now."""


class Journal(Generic[RecordT]):
    """The records of one file, the oldest first."""

    def __init__(self, root: Path, file: str, kind: type[RecordT]) -> None:
        """
        Args:
            root: any folder of the repository; worktrees share the ref.
        """
        self._state, self._file, self._kind = StateRef(root), file, kind

    def read(self, commit: str | None = None) -> list[RecordT]:
        """All records at `commit` of the ref (default: now).

        Raises:
            StageInputError: a line is none of this kind.
            WorkspaceError: `root` is in no git repository.
        """
        return self._parsed(self._state.read(self._file, commit))

    def append(
        self,
        decide: Callable[[list[RecordT]], RecordT | None],
        message: Callable[[RecordT], str],
        beside: Mapping[str, bytes] | None = None,
    ) -> RecordT | None:
        """Add what `decide` makes of the records so far; it is asked again where another process came between.

        Args:
            decide: the record to add, or None for none; what it raises ends the attempt with nothing written.
            beside: further files of the ref, written by the same commit.
        Raises:
            StateMoved: others kept moving the ref.
        """
        for attempt in range(ATTEMPTS):
            head = self._state.head()
            before = self._state.read(self._file, head) or b""
            record = decide(self._parsed(before))
            if record is None:
                return None
            line = record.model_dump_json().encode() + b"\n"
            try:
                self._state.write({self._file: before + line, **(beside or {})}, message(record), head)
                return record
            except StateMoved:
                if attempt == ATTEMPTS - 1:
                    raise
        return None

    def _parsed(self, data: bytes | None) -> list[RecordT]:
        try:
            return [self._kind.model_validate_json(line) for line in (data or b"").splitlines() if line.strip()]
        except ValidationError as err:
            raise StageInputError(
                f"{REF}:{self._file} holds a line that is no {self._kind.__name__} ({err.error_count()} faults), "
                "of another Graft or written by hand: `git log refs/graft/state` shows by which commit"
            ) from err
