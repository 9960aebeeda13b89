"""Versions and stages as GTO's git tags, so that DVC, GTO and Studio read the registry too (docs/decisions/0027).

    NAME@v3.0.0    version 3, on the commit of its run branch
    NAME#prod#7    the seventh change of production, on the commit of the version that took over

The journals on refs/graft/state are the truth; a tag only repeats them and is made anew where it is missing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from flows.git_user import stand_in
from flows.records import StageChange, VersionRecord
from flows.state import run_git
from flows.versions import version_name, versions

_STRANGE = re.compile(r"[^A-Za-z0-9_-]+")
UNNAMED = "model"
UNSIGNED = ("-c", "tag.forceSignAnnotated=false")
"""--no-sign alone yields to that setting."""


def artifact_name(export_name: str) -> str:
    """export.name as GTO, DVC and git take it: letters, digits, `_` and `-`, at both ends a letter or a digit.

    >>> artifact_name("Cats & dogs, v2.1"), artifact_name("--")
    ('Cats-dogs-v2-1', 'model')
    """
    return _STRANGE.sub("-", export_name).strip("-_") or UNNAMED


def version_tag(record: VersionRecord) -> str:
    """The tag that registers a version.

    GTO wants three numbers; a model has one, as nothing says which change of weights would be a minor one.
    """
    return f"{artifact_name(record.name)}@v{record.version}.0.0"


def stage_tag(record: VersionRecord, change: StageChange) -> str:
    """The tag that moves a version into a stage, with the change's own number."""
    return _stage_tag(record.name, change)


def _stage_tag(name: str, change: StageChange) -> str:
    return f"{artifact_name(name)}#{change.stage}#{change.number}"


def tag_version(root: Path, record: VersionRecord) -> None:
    """Register a version with GTO; its commit must be in the repository. Repeated, it changes nothing.

    Raises:
        WorkspaceError: git refuses it.
    """
    if record.commit:
        said = f"{record.name} {version_name(record.version)}: {record.outcome}; {record.why}"
        _tag(root, version_tag(record), record.commit, said, record.at)


def assign(root: Path, change: StageChange, known: Sequence[VersionRecord] | None = None) -> str | None:
    """Tell GTO of a change of stage. Repeated, it changes nothing.

    Args:
        known: the registry, where the caller has read it already.
    Returns:
        the tag; None where the version's commit is not in this repository (another machine published it).
    Raises:
        WorkspaceError: git refuses it.
    """
    of_digest = [one for one in known or versions(root) if one.manifest_sha256 == change.manifest_sha256]
    if not of_digest or not of_digest[0].commit or not has_commit(root, of_digest[0].commit):
        return None
    tag = stage_tag(of_digest[0], change)
    forced = " (forced)" if change.forced else ""
    said = f"{change.action}{forced} {version_name(change.version)} by {change.actor}: {change.reason}"
    _tag(root, tag, of_digest[0].commit, said, change.at)
    return tag


def drop_stage_tag(root: Path, change: StageChange, name: str | None) -> None:
    """Take away the tag of a change that is in no history any more; `name` is its model's."""
    if name is not None:
        run_git(root, "update-ref", "-d", f"refs/tags/{_stage_tag(name, change)}", check=False)


def has_commit(root: Path, commit: str) -> bool:
    """Whether the repository holds a commit."""
    return run_git(root, "cat-file", "-e", f"{commit}^{{commit}}", check=False).returncode == 0


def _tag(root: Path, name: str, commit: str, message: str, at: str) -> None:
    """An annotated tag dated as the journal dates it: GTO orders by date. One that stands elsewhere is moved."""
    if run_git(root, "rev-parse", "--verify", "--quiet", f"refs/tags/{name}^{{commit}}", check=False).stdout == (
        f"{commit}\n".encode()
    ):
        return
    dated = {**stand_in(root), "GIT_COMMITTER_DATE": at}
    named = ("--message", message, name, commit)
    run_git(root, "tag", "--annotate", "--no-sign", "--force", *named, env=dated, options=UNSIGNED)
