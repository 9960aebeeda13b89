"""What git's remote knows of the registry, as it was last seen; no remote is asked."""

from __future__ import annotations

from pathlib import Path

from flows.journal import HISTORY, VERSIONS, Journal
from flows.records import StageChange, VersionRecord
from flows.state import REF, run_git


def pushed_versions(root: Path, remote: str) -> set[str] | None:
    """Manifest digests of the versions that the remote's registry held; None where git knows no such remote."""
    if remote not in _remotes(root):
        return None
    seen = _commit(root, seen_at(remote))
    if seen is None:
        return set()
    return {record.manifest_sha256 for record in Journal(root, VERSIONS, VersionRecord).read(seen)}


def lags_behind(root: Path, remote: str) -> bool:
    """Whether the remote, where there is one, was last seen without something that is on record here."""
    return remote in _remotes(root) and _commit(root, REF) != _commit(root, seen_at(remote))


def remote_knows(root: Path, change: StageChange) -> bool:
    """Whether any remote's registry had a change of stage when it was last seen."""
    listed = run_git(root, "for-each-ref", "--format=%(objectname)", "refs/graft/remotes/").stdout.decode().split()
    return any(change in Journal(root, HISTORY, StageChange).read(commit) for commit in listed)


def seen_at(remote: str) -> str:
    """The ref of ours that follows the remote's registry."""
    return f"refs/graft/remotes/{remote}/state"


def _remotes(root: Path) -> list[str]:
    return run_git(root, "remote").stdout.decode().split()


def _commit(root: Path, ref: str) -> str | None:
    return run_git(root, "rev-parse", "--verify", "--quiet", ref, check=False).stdout.decode().strip() or None
