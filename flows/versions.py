"""The registry of published versions: 1, 2, 3, ..., each a release of its own."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from flows.journal import VERSIONS, Journal
from flows.records import VersionRecord
from tasks.errors import UserError, counted

_NUMBER = re.compile(r"(?:[^@]+@)?v?([0-9]{1,9})(?:\.0\.0)?", re.IGNORECASE)
_DIGEST = re.compile(r"[0-9a-f]{4,64}")
NOTHING_PUBLISHED = "no version is published yet; `graft adapt --publish` publishes the model that it releases"


def version_name(number: int) -> str:
    """What a version is called.

    >>> version_name(3)
    'v3'
    """
    return f"v{number}"


def register(root: Path, make: Callable[[int], VersionRecord]) -> VersionRecord:
    """Register a release as the next version, or find the version that it is already. Many processes may do so at once.

    Args:
        root: any folder of the repository.
        make: the record under the number given; asked again where another process took that number, so what it does
            besides must be safe to repeat, and harmless where no version comes of it.
    Returns:
        the record of this release's digest: the new one, or the one that was there.
    Raises:
        StateMoved: others kept moving the state.
    """
    known: list[VersionRecord] = []

    def decide(records: list[VersionRecord]) -> VersionRecord | None:
        record = make(max((one.version for one in records), default=0) + 1)
        known[:] = [one for one in records if one.manifest_sha256 == record.manifest_sha256]
        return None if known else record

    added = Journal(root, VERSIONS, VersionRecord).append(decide, _message)
    return added or known[0]


def _message(record: VersionRecord) -> str:
    return f"Register {record.name} {version_name(record.version)}: release {record.manifest_sha256[:12]}"


def versions(root: Path) -> list[VersionRecord]:
    """Every published version, the oldest first.

    Raises:
        WorkspaceError, StageInputError: the state cannot be read.
    """
    return Journal(root, VERSIONS, VersionRecord).read()


def find_version(root: Path, text: str) -> VersionRecord:
    """The version that somebody names: `v3`, `3`, `v3.0.0`, `NAME@v3.0.0`, or how its release's digest begins.

    Raises:
        UserError: there is none of that name, or several; the message names the nearest.
    """
    return among(versions(root), text)


def among(records: Sequence[VersionRecord], text: str) -> VersionRecord:
    """As `find_version`, of records that were read already."""
    if not records:
        raise UserError(NOTHING_PUBLISHED)
    wanted = text.strip()
    number = _NUMBER.fullmatch(wanted)
    if number and (found := [record for record in records if record.version == int(number[1])]):
        return found[0]
    if _DIGEST.fullmatch(wanted.lower()):
        found = [record for record in records if record.manifest_sha256.startswith(wanted.lower())]
        if len(found) == 1:
            return found[0]
        if found:
            raise UserError(f"{wanted} begins the digests of {_named(found)}; give more of it, or the version")
    if number:
        nearest = min(records, key=lambda record: abs(record.version - int(number[1])))
        raise UserError(
            f"there is no version {version_name(int(number[1]))}; the nearest is {_named([nearest])}; {_all(records)}"
        )
    raise UserError(
        f"{text!r} names no version: give v3, 3, v3.0.0 or how the release's digest begins (4 characters or more); "
        f"{_all(records)}"
    )


def _named(records: Sequence[VersionRecord]) -> str:
    return " and ".join(f"{version_name(one.version)} ({one.manifest_sha256[:12]})" for one in records)


def _all(records: Sequence[VersionRecord]) -> str:
    first, last = version_name(records[0].version), version_name(records[-1].version)
    return f"{counted(len(records), 'version')}: {first if first == last else f'{first} to {last}'}"
