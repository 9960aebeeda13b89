"""Two machines' histories of refs/graft/state made one: what the remote has stays, what is new here follows on top.

Nothing that another machine can have seen is ever changed. Of what only this machine has, versions and changes of stage
whose numbers were taken meanwhile get the next ones; a release that both published keeps the remote's version. A change
of stage that the other machine's makes void is no part of the history (`flows.merged_history`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from flows.journal import HISTORY, SHADOWS, SUPERSEDED, TEST_USES, VERSIONS, Journal
from flows.merged_history import Followed, followed
from flows.records import ShadowChange, StageChange, TestSetUse, VersionRecord
from flows.registry_refs import version_message
from flows.registry_tags import drop_stage_tag
from flows.run_branch import recommitted
from flows.state import StateRef, run_git
from flows.versions import version_name
from tasks.errors import WorkspaceError
from tasks.reports.document import Record
from tasks.tables import SPLIT_MEMORY, parse_table, table_bytes

RecordT = TypeVar("RecordT", bound=Record)
SIDES = "splits/"


def merge_state(root: Path, theirs: str) -> list[str]:
    """Have refs/graft/state hold what the remote has (`theirs`, a commit that was fetched) and what only is here.

    Returns:
        a line for each version of this machine that got another number, and for each change of stage that lost.
    Raises:
        StateMoved: another process moved the ref meanwhile; merge again.
        WorkspaceError: this machine's copy was rewritten.
        StageInputError: a journal cannot be read.
    """
    state = StateRef(root)
    ours = state.head()
    if ours is None or _is_ancestor(root, ours, theirs):
        if ours != theirs:
            state.move(theirs, ours, "Take over what other machines published")
        return []
    if _is_ancestor(root, theirs, ours):
        return []
    replay = _Replay(state, _base(root, ours, theirs), ours, theirs)
    files = replay.files()
    for change in replay.superseded:
        # Before the ref moves: for the tag of a number that is in no history any more nobody would look.
        drop_stage_tag(root, change, replay.names.get(change.manifest_sha256))
    if not files:
        state.move(theirs, ours, "Take over what other machines published")
        return replay.lines
    message = "Follow on what other machines published"
    state.move(state.commit(files, message, theirs), ours, message)
    return replay.lines


class _Replay:
    """What is only here, said again after what the remote has."""

    def __init__(self, state: StateRef, base: str | None, ours: str, theirs: str) -> None:
        self.state, self.base, self.ours, self.theirs = state, base, ours, theirs
        self.lines: list[str] = []
        self.superseded: Sequence[StageChange] = []
        self.names: dict[str, str] = {}
        """Of models, by manifest sha256."""
        self.numbers: dict[str, int] = {}
        """Of versions, by manifest sha256."""

    def files(self) -> dict[str, bytes]:
        """New content by path, for all that the remote's commit lacks. What there is to tell is in `lines` then."""
        versions = self._versions()
        history = self._history(versions)
        added = {
            VERSIONS: _lines(versions),
            HISTORY: _lines(history.changes),
            TEST_USES: _lines(self._uses()),
            SHADOWS: _lines(self._shadows()),
            SUPERSEDED: _lines([*self._read(SUPERSEDED, StageChange)[1], *history.superseded]),
        }
        self.superseded = history.superseded
        files = {path: (self.state.read(path, self.theirs) or b"") + lines for path, lines in added.items() if lines}
        for path in self._changed():
            if path not in added:
                files[path] = self._merged(path)
        return files

    def _versions(self) -> list[VersionRecord]:
        known, new = self._read(VERSIONS, VersionRecord)
        digests, last = {record.manifest_sha256 for record in known}, max((one.version for one in known), default=0)
        added: list[VersionRecord] = []
        for record in new:
            if record.manifest_sha256 not in digests:
                last += 1
                added.append(record if record.version == last else self._renumbered(record, last))
        return added

    def _renumbered(self, record: VersionRecord, number: int) -> VersionRecord:
        was = version_name(record.version)
        self.lines.append(f"{was} of this machine is {version_name(number)} now: another machine had published {was}")
        renamed = record.model_copy(update={"version": number})
        if record.commit is None:
            return renamed
        commit = recommitted(self.state.root, record.commit, version_message(renamed))
        return renamed.model_copy(update={"commit": commit})

    def _history(self, added_versions: Sequence[VersionRecord]) -> Followed:
        known, new = self._read(HISTORY, StageChange)
        records = [*Journal(self.state.root, VERSIONS, VersionRecord).read(self.theirs), *added_versions]
        self.names = {record.manifest_sha256: record.name for record in records}
        self.numbers = {record.manifest_sha256: record.version for record in records}
        history = followed(known, new, self.numbers)
        self.lines += history.lines
        return history

    def _uses(self) -> list[TestSetUse]:
        known, new = self._read(TEST_USES, TestSetUse)
        seen = {use.decision for use in known}
        return [use for use in new if use.decision not in seen]

    def _shadows(self) -> list[ShadowChange]:
        """Each store has a shadow of its own: what was decided here stays, after what was decided there."""
        known, new = self._read(SHADOWS, ShadowChange)
        return [
            change.model_copy(
                update={
                    "number": len(known) + place,
                    "version": self.numbers.get(change.manifest_sha256 or "", change.version),
                }
            )
            for place, change in enumerate(new, start=1)
        ]

    def _read(self, file: str, kind: type[RecordT]) -> tuple[list[RecordT], list[RecordT]]:
        """What the remote has, and what only is here."""
        journal = Journal(self.state.root, file, kind)
        before = journal.read(self.base) if self.base else []
        here, there = journal.read(self.ours), journal.read(self.theirs)
        if here[: len(before)] != before or there[: len(before)] != before:
            raise WorkspaceError(
                f"{file} on refs/graft/state was rewritten, here or at the remote; `git log -p refs/graft/state` shows "
                "where; journals are only ever added to"
            )
        return there, here[len(before) :]

    def _changed(self) -> list[str]:
        listed = run_git(
            self.state.root, "diff-tree", "-r", "-z", "--name-only", "--diff-filter=AM", self.theirs, self.ours
        )
        return [path for path in listed.stdout.decode().split("\0") if path]

    def _merged(self, path: str) -> bytes:
        theirs, ours = self.state.read(path, self.theirs), self.state.read(path, self.ours) or b""
        if theirs is None:
            return ours
        return merged_sides(theirs, ours, path) if path.startswith(SIDES) else theirs


def merged_sides(theirs: bytes, ours: bytes, path: str) -> bytes:
    """The sides that both remember; where they differ the remote's, by which models may be judged elsewhere already."""
    known, new = parse_table(theirs, SPLIT_MEMORY, path), parse_table(ours, SPLIT_MEMORY, path)
    only_here = new.filter(pc.invert(pc.is_in(new["sha256"], value_set=known["sha256"].combine_chunks())))
    if not only_here.num_rows:
        return theirs
    return table_bytes(pa.concat_tables([known, only_here]).sort_by("sha256").cast(SPLIT_MEMORY).combine_chunks())


def _lines(records: Sequence[Record]) -> bytes:
    return b"".join(record.model_dump_json().encode() + b"\n" for record in records)


def _base(root: Path, ours: str, theirs: str) -> str | None:
    found = run_git(root, "merge-base", ours, theirs, check=False).stdout.decode().strip()
    return found or None


def _is_ancestor(root: Path, one: str, other: str) -> bool:
    return run_git(root, "merge-base", "--is-ancestor", one, other, check=False).returncode == 0
