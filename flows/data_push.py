"""DVC's part of published versions: data, models and every other out of their commits, at DVC's remote."""

from __future__ import annotations

import sys
from pathlib import Path

from flows.bounded_commands import Ended, run_bounded
from flows.dvc_commands import dvc_environment, dvc_settings
from flows.dvc_push_revision import INCOMPLETE
from flows.records import VersionRecord
from flows.redaction import secrets_of
from flows.registry_refs import local_refs, own_records
from flows.remote_tries import NotPushed, Patience, tried
from flows.versions import version_name, versions
from tasks.digests import value_sha256
from tasks.params import Params
from tasks.stage import say
from tasks.workspace import Workspace


def dvc_store(workspace: Workspace, params: Params) -> str | None:
    """The remote of DVC's that versions go to; None where there is none."""
    store = params.publish.dvc_remote or dvc_settings(workspace).get("core", {}).get("remote")
    return None if store is None else str(store)


def unsent_records(workspace: Workspace, store: str) -> list[VersionRecord]:
    """Versions of this repository of which it is not on record that DVC's remote has all."""
    own = own_records(versions(workspace.root), local_refs(workspace.root))
    return [record for record in own if not _mark(workspace, store, record).exists()]


def _mark(workspace: Workspace, store: str, record: VersionRecord) -> Path:
    """A file that stands for this: every object of the version's commit was asked for at the remote, what it lacked was
    what its digest says, and it took all of it. Lost, it costs a look; what happens to the remote later it cannot know.
    """
    place = value_sha256(str(dvc_settings(workspace).get("remote", {}).get(store, {}).get("url")))[:16]
    return workspace.home / ".graft" / "pushed" / f"{record.manifest_sha256}-{place}"


def push_data(workspace: Workspace, params: Params, store: str) -> tuple[list[str], dict[str, str]]:
    """Push what DVC's remote has not got of every version of this repository.

    Returns:
        a line for each version that was transferred; by manifest digest, why a version never will be as things stand.
    Raises:
        NotPushed: the remote failed.
    """
    done, faults = [], {}
    for record in unsent_records(workspace, store):
        what = f"data and models of {version_name(record.version)} to DVC's {store}"
        say(f"pushing {what}")
        ended = _transferred(workspace, params, record, store)
        if ended.code == INCOMPLETE:
            faults[record.manifest_sha256] = f"{what}: {ended.output.splitlines()[-1]}; {_mend(record)}"
        elif not ended.ok:
            raise NotPushed(f"{what}: {ended.why}")
        else:
            mark = _mark(workspace, store, record)
            mark.parent.mkdir(parents=True, exist_ok=True)
            mark.touch()
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
