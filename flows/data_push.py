"""DVC's part of published versions: data, models and every other out of their commits, at DVC's remote."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.bounded_commands import Ended, run_bounded
from flows.dvc_commands import dvc_environment, dvc_settings
from flows.dvc_push_revision import INCOMPLETE
from flows.records import VersionRecord
from flows.redaction import redacted, secrets_of
from flows.registry_refs import local_refs, own_records
from flows.remote_tries import NotPushed, Patience, tried
from flows.state import run_git
from flows.versions import version_name, versions
from tasks.digests import value_sha256
from tasks.params import Params
from tasks.reports import write_bytes
from tasks.stage import say
from tasks.workspace import Workspace


def dvc_store(workspace: Workspace, params: Params) -> str | None:
    """The remote of DVC's that versions go to; None where there is none."""
    store = params.publish.dvc_remote or dvc_settings(workspace).get("core", {}).get("remote")
    return None if store is None else str(store)


def remote_shown(workspace: Workspace, store: str) -> str:
    """Name and URL of a remote of DVC's, without secrets: where data go must surprise nobody."""
    return redacted(f"{store} ({_remote(workspace, store).get('url')})", secrets_of(dvc_settings(workspace)))


def holds_data(root: Path, record: VersionRecord) -> bool:
    """Whether DVC has anything of a version's commit."""
    names = run_git(root, "ls-tree", "-r", "--name-only", "-z", str(record.commit)).stdout.decode().split("\0")
    lock = run_git(root, "show", f"{record.commit}:dvc.lock", check=False).stdout
    return any(name.endswith(".dvc") for name in names) or b"outs:" in lock


def unsent_records(workspace: Workspace, store: str) -> list[VersionRecord]:
    """Versions of this repository of which it is not on record that DVC's remote has all."""
    own, place = own_records(versions(workspace.root), local_refs(workspace.root)), _Place.of(workspace, store)
    return [record for record in own if not place.has(record.manifest_sha256)]


@dataclass(frozen=True)
class _Place:
    """A remote of DVC's, and what is on record of it: a file for each version.

    The file stands for this: every object of the version's commit was asked for at the remote, what it lacked was what
    its digest says, and it took all of it. It says in which folder, if the remote is one: another disk may be mounted
    there now, or none. Lost, it costs a look; what happens to the remote's content later it cannot know.

    Attributes:
        marks: folder of those files.
        name: the end of their names, by the remote's URL.
        folder: the remote as a folder of this machine; None where it is none.
    """

    marks: Path
    name: str
    folder: Path | None

    @classmethod
    def of(cls, workspace: Workspace, store: str) -> _Place:
        url = str(_remote(workspace, store).get("url"))
        local = url.removeprefix("file://")
        folder = None if "://" in local else Path(local)
        return cls(workspace.home / ".graft" / "pushed", f"-{value_sha256(url)[:16]}", folder)

    @property
    def identity(self) -> str:
        """Which folder it is, whatever its path; empty where it is none of this machine."""
        if self.folder is None:
            return ""
        try:
            found = self.folder.stat()
        except OSError:
            return "not there"
        return f"device {found.st_dev}, inode {found.st_ino}"

    @property
    def vanished(self) -> bool:
        """Whether a folder that took data is not there or empty, as where a disk is not mounted: DVC would make it."""
        try:
            lost = self.folder is not None and not any(self.folder.iterdir())
        except OSError:
            lost = True
        return lost and any(self.marks.glob(f"*{self.name}"))

    def has(self, digest: str) -> bool:
        try:
            return (self.marks / f"{digest}{self.name}").read_text() == self.identity
        except FileNotFoundError:
            return False

    def keep(self, digest: str) -> None:
        """Record that it has all of a version."""
        write_bytes(self.marks / f"{digest}{self.name}", self.identity.encode())


def _remote(workspace: Workspace, store: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = dvc_settings(workspace).get("remote", {}).get(store, {})
    return found


def push_data(workspace: Workspace, params: Params, store: str) -> tuple[list[str], dict[str, str]]:
    """Push what DVC's remote has not got of every version of this repository, by DVC's settings as they are now.

    Returns:
        a line for each version that was transferred; by manifest digest, why a version never will be as things stand.
    Raises:
        NotPushed: the remote failed, or DVC does not know it.
    """
    if not _remote(workspace, store):
        by = "publish.dvc_remote" if params.publish.dvc_remote else "core.remote of DVC's settings"
        raise NotPushed(f"{by} names {store}, which DVC does not know; `dvc remote add {store} URL`")
    done, faults, place = [], {}, _Place.of(workspace, store)
    unsent, shown = unsent_records(workspace, store), remote_shown(workspace, store)
    if unsent and place.vanished:
        fault = (
            f"DVC's {shown} took data before and is not there or empty now; mount it or bring it back, or, if what it "
            f"held is gone for good, delete {workspace.relative(place.marks)}; then `graft push`"
        )
        return [], {record.manifest_sha256: fault for record in unsent}
    for record in unsent:
        what = f"data and models of {version_name(record.version)} to DVC's {shown}"
        say(f"pushing {what}")
        ended = _transferred(workspace, params, record, store)
        if ended.code == INCOMPLETE:
            faults[record.manifest_sha256] = f"{what}: {ended.output.splitlines()[-1]}; {_mend(record)}"
        elif not ended.ok:
            raise NotPushed(f"{what}: {ended.why}")
        else:
            place.keep(record.manifest_sha256)
            done.append(what)
    return done, faults


def _transferred(workspace: Workspace, params: Params, record: VersionRecord, store: str) -> Ended:
    program, secrets = str(Path(__file__).with_name("dvc_push_revision.py")), secrets_of(dvc_settings(workspace))
    command = [sys.executable, "-P", program, str(record.commit), store]
    seconds = params.flow.stage_timeout_seconds
    return tried(
        Patience.of(params),
        lambda: run_bounded(command, workspace.root, seconds, dvc_environment(), secrets),
        unless=lambda ended: ended.code == INCOMPLETE,
    )


def _mend(record: VersionRecord) -> str:
    return (
        "delete what is altered; bring it back by `dvc fetch` from another remote, `dvc add` of the data, or "
        f"`dvc repro` in a checkout of {record.branch}; then `graft push`"
    )
