"""A passed run becomes a version: a commit on its run branch, a line in the registry, a tag, and all of it pushed.

Each step may be repeated without harm and the order is such that an interruption leaves nothing half: the commit is
held by a ref of ours, then the registry names it, then branch and tag follow, then it is pushed. What an interrupted
run left is completed by the next one (`flows.run_branch.KEEPING`).
"""

from __future__ import annotations

from dataclasses import dataclass

from flows.dvc_commands import dvc_remotes
from flows.git_user import check_identity
from flows.logs import graft_version
from flows.pushing import git_remotes, push_pending
from flows.records import VersionRecord, now_text
from flows.redaction import redacted, secret_options
from flows.registry_refs import complete, version_message
from flows.reproducibility import kept_in_place
from flows.run_branch import KEEPING, RunTree, branch_of
from flows.state import run_git
from flows.versions import register, version_name, versions
from tasks.errors import WorkspaceError, did_you_mean
from tasks.params import Params, PublishParams
from tasks.release import MANIFEST, manifest_sha256
from tasks.reports import Verdict
from tasks.reports.manifest import Manifest
from tasks.stage import say
from tasks.workspace import Workspace


@dataclass(frozen=True)
class Wish:
    """Who publishes, and why: a schedule's name, or a person's reason."""

    run_id: str
    by: str
    why: str


@dataclass(frozen=True)
class Published:
    """A version as it stands now.

    Attributes:
        pushed: code, tags, registry and data are at the remotes; None where git or DVC has no remote to push to.
        not_pushed: why not, or what stays here for want of a remote; None where all is pushed.
    """

    version: VersionRecord
    pushed: bool | None
    not_pushed: str | None


def check_publishable(workspace: Workspace, params: Params) -> None:
    """Refuse at the start what would fail or must not happen at the end. Asks no remote.

    Raises:
        WorkspaceError: no checkout, no identity, a remote that is not set up, a secret in .dvc/config, or data that
            publish.in_place_data refuses.
    """
    check_identity(workspace.root)
    _check_remotes(workspace, params.publish)
    _check_kept_secrets(workspace)
    _check_in_place(params, kept_in_place(workspace, params) if params.publish.in_place_data == "refuse" else [])


def _check_remotes(workspace: Workspace, publish: PublishParams) -> None:
    known, default = git_remotes(workspace.root), PublishParams().git_remote
    if publish.git_remote not in known and publish.git_remote != default:
        raise WorkspaceError(
            f"publish.git_remote: git knows no remote {redacted(publish.git_remote)!r}"
            f"{did_you_mean(publish.git_remote, known)}"
        )
    stores = dvc_remotes(workspace)
    if publish.dvc_remote is not None and publish.dvc_remote not in stores:
        raise WorkspaceError(
            f"publish.dvc_remote: DVC knows no remote {redacted(publish.dvc_remote)!r}"
            f"{did_you_mean(publish.dvc_remote, stores)}"
        )


def _check_kept_secrets(workspace: Workspace) -> None:
    """.dvc/config goes into every version's commit."""
    from dvc.config import Config

    shared = Config(dvc_dir=str(workspace.root / ".dvc"), validate=False).load_one("repo")
    for name, remote in shared.get("remote", {}).items():
        for option in secret_options(remote):
            raise WorkspaceError(
                f".dvc/config would carry a secret into git (remote {name!r}: {option}); move it to .dvc/config.local: "
                f"`dvc remote modify --local {name} {option} ...`, and take it out of .dvc/config"
            )


def _check_in_place(params: Params, reasons: list[str]) -> None:
    if reasons and params.publish.in_place_data == "refuse":
        raise WorkspaceError(
            "publish.in_place_data is refuse, and no other machine could reproduce this run:\n" + "\n".join(reasons)
        )


def publish_version(workspace: Workspace, params: Params, wish: Wish) -> Published:
    """Register the release that lies in the store as the next version, and push it. The same release stays the version
    that it is.

    The caller holds the workspace's lock, and dvc.lock stands as it shall be published.

    Raises:
        WorkspaceError: as `check_publishable`, or git refuses; the release stays in the store.
        StateMoved: other runs kept moving the registry.
    """
    check_identity(workspace.root)
    digest = manifest_sha256(workspace.release)
    found = [record for record in versions(workspace.root) if record.manifest_sha256 == digest]
    record = found[0] if found else _registered(workspace, params, wish, digest)
    pushed = push_pending(workspace, params)
    # Renumbered, where another machine had taken the number meanwhile.
    now = next((one for one in versions(workspace.root) if one.manifest_sha256 == digest), record)
    return Published(now, pushed.pushed, pushed.not_pushed)


def _registered(workspace: Workspace, params: Params, wish: Wish, digest: str) -> VersionRecord:
    in_place = kept_in_place(workspace, params)
    _check_in_place(params, in_place)
    for reason in in_place:
        say(f"no other machine can reproduce this version: {reason}", "warning")
    draft, tree = _draft(workspace, params, wish, digest, bool(in_place)), RunTree(workspace, params)

    def make(number: int) -> VersionRecord:
        # Held before the registry names it: whoever finds the version can complete it. Asked again, the ref moves on.
        record = draft.model_copy(update={"version": number})
        commit = tree.commit(version_message(record))
        run_git(workspace.root, "update-ref", f"{KEEPING}{wish.run_id}", commit)
        return record.model_copy(update={"commit": commit})

    record = register(workspace.root, make)
    complete(workspace.root)
    say(f"published {record.name} {version_name(record.version)} on branch {record.branch}")
    return record


def _draft(workspace: Workspace, params: Params, wish: Wish, digest: str, in_place: bool) -> VersionRecord:
    """The record but for what depends on its number."""
    manifest, verdict = Manifest.read(workspace.release / MANIFEST), Verdict.read(workspace.verdict).champion
    return VersionRecord(
        version=0,
        name=params.export.name,
        manifest_sha256=digest,
        model_sha256=manifest.digests.adapted,
        data_digest=manifest.digests.data,
        params_sha256=manifest.digests.params,
        run_id=wish.run_id,
        branch=branch_of(wish.run_id),
        commit=None,
        in_place=in_place,
        accuracy=manifest.metrics.accuracy,
        macro_f1=manifest.metrics.macro_f1,
        test_items=manifest.metrics.test_items,
        outcome=verdict.outcome if verdict else "first",
        promotable=verdict.promotable if verdict else False,
        champion=verdict.champion if verdict else None,
        graft_version=graft_version(workspace.root),
        by=wish.by,
        why=wish.why,
        at=now_text(),
    )
