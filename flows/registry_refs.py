"""Branches and tags of versions, brought into step with what the registry says; an interrupted publish is completed."""

from __future__ import annotations

import fcntl
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from flows.journal import HISTORY, Journal
from flows.records import StageChange, VersionRecord
from flows.registry_tags import assign, stage_tag, tag_version, version_tag
from flows.run_branch import KEEPING
from flows.run_claims import BRANCHES
from flows.state import run_git
from flows.versions import version_name, versions
from tasks.errors import GraftError
from tasks.stage import say
from tasks.workspace import Workspace

NOTHING = "0" * 40
HEADS, TAGS = "refs/heads/", "refs/tags/"
ABANDONED = timedelta(days=1)
"""After it a held commit that no version names belongs to a run that died before it was registered."""


@dataclass(frozen=True)
class LocalRef:
    """A ref, the commit that it leads to, and when that was made."""

    name: str
    target: str
    commit: str
    made: datetime


def version_message(record: VersionRecord) -> str:
    """The message of a version's commit."""
    champion = f" (champion {record.champion[:12]})" if record.champion else ""
    accuracy = f"{record.accuracy.value:.4f} ({record.accuracy.low:.4f} to {record.accuracy.high:.4f})"
    lines = [
        f"Publish {record.name} {version_name(record.version)}: {record.outcome}, accuracy {record.accuracy.value:.3f}",
        "",
        record.why,
        "",
        f"Accuracy: {accuracy} on {record.test_items} test items",
        f"Macro-F1: {record.macro_f1.value:.4f} ({record.macro_f1.low:.4f} to {record.macro_f1.high:.4f})",
        f"Outcome: {record.outcome}{champion}; {'promotable' if record.promotable else 'not promotable'}",
        f"Reproducible elsewhere: {'no, data or weights were read in place' if record.in_place else 'yes'}",
        f"Release: {record.manifest_sha256}",
        f"Run: {record.run_id}",
        f"By: {record.by}",
    ]
    return "\n".join(lines) + "\n"


def local_refs(root: Path) -> dict[str, LocalRef]:
    """Run branches, tags and held commits of this repository, by full name."""
    pattern = "%(refname)%00%(objectname)%00%(*objectname)%00%(creatordate:unix)"
    listed = run_git(root, "for-each-ref", f"--format={pattern}", f"{HEADS}{BRANCHES}", TAGS, KEEPING).stdout
    refs = {}
    for line in listed.decode(errors="replace").splitlines():
        name, target, peeled, made = line.split("\0")
        refs[name] = LocalRef(name, target, peeled or target, datetime.fromtimestamp(int(made or 0), UTC))
    return refs


def own_records(records: Sequence[VersionRecord], refs: Mapping[str, LocalRef]) -> list[VersionRecord]:
    """The versions that this repository published: it has their branch, or holds their commit still."""
    return [one for one in records if one.branch and _is_own(one, refs)]


def _is_own(record: VersionRecord, refs: Mapping[str, LocalRef]) -> bool:
    return f"{HEADS}{record.branch}" in refs or f"{KEEPING}{record.run_id}" in refs


def completed_if_possible(root: Path) -> list[str]:
    """`complete`, where branches and tags that cannot be made must not keep the registry from anybody."""
    try:
        return complete(root)
    except GraftError as err:
        say(f"branches and tags of versions could not be brought into step with the registry: {err}", "warning")
        return []


@contextmanager
def registry_lock(root: Path) -> Iterator[None]:
    """One process at a time moves branches and tags: git itself fails where two want one ref."""
    file = Workspace(root).home / ".graft" / "registry.lock"
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def complete(root: Path) -> list[str]:
    """Give every version of this repository its branch and tag, every change of stage its tag, and take away tags that
    say otherwise than the registry.

    Returns:
        a line for each version that an interrupted run had left without.
    Raises:
        WorkspaceError: git refuses.
    """
    with registry_lock(root):
        return _completed(root)


def _completed(root: Path) -> list[str]:
    records, lines = versions(root), []
    refs = _without_contradictions(root, records)
    for record in own_records(records, refs):
        branch, keeping = f"{HEADS}{record.branch}", f"{KEEPING}{record.run_id}"
        if f"{TAGS}{version_tag(record)}" not in refs:
            tag_version(root, record)
        if branch not in refs:
            run_git(root, "update-ref", branch, str(record.commit), NOTHING)
        elif _is_former(root, refs[branch].commit, record):
            run_git(root, "update-ref", branch, str(record.commit), refs[branch].commit, check=False)
        if keeping in refs:
            # Last: what it holds is reachable by the others now.
            run_git(root, "update-ref", "-d", keeping)
            lines.append(f"completed the publishing of {record.name} {version_name(record.version)}")
    _drop_abandoned(root, refs, {record.run_id for record in records})
    _tag_stages(root, records)
    return lines


def _is_former(root: Path, commit: str, record: VersionRecord) -> bool:
    """Whether a commit is the version's own from before it got another number; all else on a branch is somebody's."""
    if commit == record.commit:
        return False
    told = [
        run_git(root, "show", "--no-patch", "--format=%T %P%n%B", one, check=False)
        for one in (commit, str(record.commit))
    ]
    number = re.compile(rf"^(Publish {re.escape(record.name)} )v[0-9]+: ", re.MULTILINE)
    was, now = (number.sub(r"\1", one.stdout.decode(errors="replace"), count=1) for one in told)
    return not any(one.returncode for one in told) and was == now


def _without_contradictions(root: Path, records: Sequence[VersionRecord]) -> dict[str, LocalRef]:
    """The refs, once tags of numbers that another machine's version has now are gone."""
    refs, by_digest = local_refs(root), {record.manifest_sha256: record for record in records}
    commits = {version_tag(record): record.commit for record in records}
    for change in Journal(root, HISTORY, StageChange).read():
        if record := by_digest.get(change.manifest_sha256):
            commits[stage_tag(record, change)] = record.commit
    for name, commit in commits.items():
        found = refs.get(f"{TAGS}{name}")
        if found is not None and found.commit != commit:
            run_git(root, "update-ref", "-d", found.name, found.target, check=False)
            del refs[found.name]
    return refs


def _drop_abandoned(root: Path, refs: Mapping[str, LocalRef], registered: set[str]) -> None:
    for name, ref in refs.items():
        run_id = name.removeprefix(KEEPING)
        if run_id != name and run_id not in registered and datetime.now(UTC) - ref.made > ABANDONED:
            run_git(root, "update-ref", "-d", name)


def _tag_stages(root: Path, records: Sequence[VersionRecord]) -> None:
    refs, by_digest = local_refs(root), {record.manifest_sha256: record for record in records}
    for change in Journal(root, HISTORY, StageChange).read():
        record = by_digest.get(change.manifest_sha256)
        # Without its version's tag the commit is another machine's and not here.
        if record and f"{TAGS}{version_tag(record)}" in refs and f"{TAGS}{stage_tag(record, change)}" not in refs:
            assign(root, change, records)


def registry_tags_of(
    records: Sequence[VersionRecord], changes: Sequence[StageChange], refs: Mapping[str, LocalRef]
) -> dict[str, LocalRef]:
    """The tags of the registry that this repository has, by full name."""
    by_digest = {record.manifest_sha256: record for record in records}
    names = [version_tag(record) for record in records]
    names += [stage_tag(by_digest[one.manifest_sha256], one) for one in changes if one.manifest_sha256 in by_digest]
    return {f"{TAGS}{name}": refs[f"{TAGS}{name}"] for name in names if f"{TAGS}{name}" in refs}
