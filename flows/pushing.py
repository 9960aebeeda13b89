"""What was published here goes to the remotes: first DVC's data, then branches, tags and the registry in one push.

What is not there yet is asked of the remotes, not remembered: an interrupted push is found by the next. The registry's
ref is only ever moved forward; where another machine was first, its history is taken over and ours follows
(`flows.state_merge`).
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from flows.bounded_commands import Ended, git_remotely, run_bounded
from flows.dvc_commands import dvc_environment, dvc_settings
from flows.journal import HISTORY, VERSIONS, Journal
from flows.records import StageChange, VersionRecord
from flows.redaction import secrets_of
from flows.registry_refs import HEADS, TAGS, complete, local_refs, own_records, registry_lock, registry_tags_of
from flows.registry_tags import artifact_name, version_tag
from flows.remote_registry import pushed_versions, seen_at
from flows.run_branch import PREFIX
from flows.state import REF, StateMoved, run_git
from flows.state_merge import merge_state
from flows.versions import version_name, versions
from tasks.digests import value_sha256
from tasks.errors import GraftError
from tasks.params import Params
from tasks.stage import say
from tasks.workspace import Workspace

FETCH_SECONDS = 10.0
"""How long the start of a run waits for the remote."""
PUSH_SECONDS = 300.0
ROUNDS = 20
"""How often a push begins anew because another machine was faster; each time one of them wins."""
TAG_ROUNDS = 2
LONGEST_STEP_ASIDE_SECONDS = 0.5
_MOVED = ("fetch first", "non-fast-forward", "stale info", "failed to update ref", "cannot lock ref", "incorrect old")


@dataclass(frozen=True)
class Pushed:
    """How pushing ended.

    Attributes:
        pushed: True: all is at the remotes. None: there is no remote.
        not_pushed: why not.
        done: what was transferred, in words; empty where everything was there already.
    """

    pushed: bool | None
    not_pushed: str | None = None
    done: Sequence[str] = ()


class _NotPushed(Exception):
    """The remotes could not be brought up to date; the text says why."""


class _TagTaken(_NotPushed):
    """The remote has a tag of the registry's on another commit."""


def git_remotes(root: Path) -> list[str]:
    """Names of git's remotes."""
    return run_git(root, "remote").stdout.decode().split()


def fetch_state(workspace: Workspace, params: Params, seconds: float = FETCH_SECONDS) -> str | None:
    """Take over what other machines published, before a run decides anything.

    Returns:
        why the remote's registry is not known, in a sentence; None where it is, or where there is no remote.
    Raises:
        WorkspaceError, StageInputError: the registry here cannot be read.
    """
    root, remote = workspace.root, params.publish.git_remote
    if remote not in git_remotes(root):
        return None
    fault = _fetched(root, remote, seconds)
    if fault:
        return f"what other machines published is not known: {remote} did not give its registry ({fault})"
    _take_over(root, remote, seconds)
    return None


def push_pending(workspace: Workspace, params: Params) -> Pushed:
    """Push everything that was published here and is not at the remotes yet. Repeated, it finds nothing to do.

    What an interrupted publish left undone is completed first.

    Raises:
        WorkspaceError, StageInputError: the registry here cannot be read. What goes wrong with the remotes is told.
    """
    root, settings = workspace.root, dvc_settings(workspace)
    for line in complete(root):
        say(line)
    store = params.publish.dvc_remote or settings.get("core", {}).get("remote")
    remote = params.publish.git_remote if params.publish.git_remote in git_remotes(root) else None
    if store is None and remote is None:
        return Pushed(None, "neither git nor DVC has a remote; the version stays on this machine")
    done: list[str] = []
    try:
        if store is not None:
            done += _push_data(workspace, params, str(store))
        if remote is not None:
            done += _push_refs(workspace, params, remote)
    except (_NotPushed, GraftError) as err:
        return Pushed(False, str(err), done)
    return Pushed(True, None, done)


def _push_data(workspace: Workspace, params: Params, store: str) -> list[str]:
    """DVC's part of every version of this repository that its remote has not got."""
    settings, done = dvc_settings(workspace), []
    place = value_sha256(str(settings.get("remote", {}).get(store, {}).get("url")))[:16]
    program = str(Path(__file__).with_name("dvc_push_revision.py"))
    for record in own_records(versions(workspace.root), local_refs(workspace.root)):
        mark = workspace.home / ".graft" / "pushed" / f"{record.manifest_sha256}-{place}"
        if mark.exists():
            continue
        what = f"data and models of {version_name(record.version)} to DVC's {store}"
        say(f"pushing {what}")
        command = [sys.executable, "-P", program, str(record.commit), store]
        seconds, secrets = params.flow.stage_timeout_seconds, secrets_of(settings)
        ended = _tried(params, lambda: run_bounded(command, workspace.root, seconds, dvc_environment(), secrets))  # noqa: B023
        if not ended.ok:
            raise _NotPushed(f"{what}: {ended.why}")
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()
        done.append(what)
    return done


def _push_refs(workspace: Workspace, params: Params, remote: str) -> list[str]:
    root = workspace.root
    for attempt in range(ROUNDS):
        fetched = _tried(params, lambda: _fetch(root, remote, PUSH_SECONDS))
        if not fetched.ok:
            raise _NotPushed(f"{remote} did not give its registry: {fetched.why}")
        _take_over(root, remote, PUSH_SECONDS)
        try:
            pushed = _pushed_once(params, root, remote)
        except _TagTaken:
            # It may belong to a push that is just arriving.
            if attempt >= TAG_ROUNDS:
                raise
            pushed = None
        if pushed is not None:
            return pushed
        # Not in step with the other one again.
        time.sleep(random.uniform(0, LONGEST_STEP_ASIDE_SECONDS))
    raise _NotPushed(f"other machines kept publishing to {remote}; `graft push` tries again")


def _pushed_once(params: Params, root: Path, remote: str) -> list[str] | None:
    """What was pushed; None where another machine moved the registry meanwhile."""
    there = _remote_refs(params, root, remote)
    if there.get(REF) != _commit(root, seen_at(remote)):
        return None
    lacking = _lacking(root, remote, there)
    if not lacking:
        return []
    specs = [f"{target}:{name}" for name, target in lacking.items()]
    ended = _tried(
        params,
        lambda: git_remotely(root, PUSH_SECONDS, "push", "--atomic", "--porcelain", remote, *specs),
        unless=_registry_moved,
    )
    if _registry_moved(ended):
        return None
    if not ended.ok:
        raise _NotPushed(f"{', '.join(_shown(lacking))} to {remote}: {_rejections(ended) or ended.why}")
    if REF in lacking:
        run_git(root, "update-ref", seen_at(remote), lacking[REF], check=False)
    return [f"{name} to {remote}" for name in _shown(lacking)]


def _lacking(root: Path, remote: str, there: Mapping[str, str]) -> dict[str, str]:
    """What the remote has not got: full name to object.

    A branch of a version that its registry knows was there and was cleaned up; it does not come back. So the registry
    that is pushed is the very one that the branches were looked up for: another run here may be adding to it.
    """
    state = _commit(root, REF)
    records = Journal(root, VERSIONS, VersionRecord).read(state)
    changes, refs = Journal(root, HISTORY, StageChange).read(state), local_refs(root)
    known = pushed_versions(root, remote) or set()
    new = [one for one in own_records(records, refs) if one.manifest_sha256 not in known]
    lacking = {f"{HEADS}{one.branch}": str(one.commit) for one in new if f"{HEADS}{one.branch}" not in there}
    for name, tag in registry_tags_of(records, changes, refs).items():
        # Each machine may have made the same tag for itself: what it stands on counts, not who made it.
        stands_on = there.get(f"{name}^{{}}", there.get(name, tag.commit))
        if stands_on != tag.commit:
            raise _TagTaken(
                f"{remote} has a tag {name.removeprefix(TAGS)} on another commit ({stands_on[:12]}); delete it there"
            )
        if name not in there:
            lacking[name] = tag.target
    return {**lacking, **({REF: state} if state and there.get(REF) != state else {})}


def _commit(root: Path, ref: str) -> str | None:
    return run_git(root, "rev-parse", "--verify", "--quiet", ref, check=False).stdout.decode().strip() or None


def _remote_refs(params: Params, root: Path, remote: str) -> dict[str, str]:
    """Object of every ref of ours and of every tag at the remote; `NAME^{}` is what a tag stands on."""
    patterns = (REF, f"{HEADS}{PREFIX}*", f"{TAGS}*")
    ended = _tried(params, lambda: git_remotely(root, PUSH_SECONDS, "ls-remote", "--quiet", remote, *patterns))
    if not ended.ok:
        raise _NotPushed(f"{remote} did not answer: {ended.why}")
    pairs = (line.split("\t") for line in ended.output.splitlines() if line.count("\t") == 1)
    return {name: target for target, name in pairs}


def _registry_moved(ended: Ended) -> bool:
    """The remote refused because its registry is no longer where we saw it, or is being moved at this moment.

    All else of the push fails with it. A remote in the middle of another push names no ref that is at fault.
    """
    refused, own = _refused(ended), _rejected_themselves(ended)
    return bool(refused) and (not own or any(name == REF and _has_moved(reason) for name, reason in own))


def _has_moved(reason: str) -> bool:
    return any(sign in reason for sign in _MOVED)


def _refused(ended: Ended) -> list[tuple[str, str]]:
    """(ref, reason) of every ref that was not taken."""
    lines = [line.split("\t") for line in ended.output.splitlines() if line.startswith("!")]
    return [(parts[1].partition(":")[2], parts[2]) for parts in lines if len(parts) == 3]


def _rejected_themselves(ended: Ended) -> list[tuple[str, str]]:
    """Without those that fell only with the others."""
    return [(name, reason) for name, reason in _refused(ended) if "atomic" not in reason]


def _rejections(ended: Ended) -> str:
    return "; ".join(f"{name} {reason}" for name, reason in _rejected_themselves(ended))


def _fetched(root: Path, remote: str, seconds: float) -> str | None:
    ended = _fetch(root, remote, seconds)
    return None if ended.ok else ended.why


def _fetch(root: Path, remote: str, seconds: float) -> Ended:
    # A pattern, as a remote without a registry is none that fails; pruned, as the remote may be another one now.
    spec = f"+{REF}*:{seen_at(remote)}*"
    options = ("--prune", "--quiet", "--no-tags", "--no-write-fetch-head")
    return git_remotely(root, seconds, "fetch", *options, remote, spec)


def _take_over(root: Path, remote: str, seconds: float) -> None:
    """Merge the registry that was fetched, then get the tags of what others published, with their commits."""
    seen = _commit(root, seen_at(remote))
    for line in _merged(root, seen) if seen else []:
        say(line)
    names = {artifact_name(record.name) for record in versions(root)}
    refs = local_refs(root)
    if any(f"{TAGS}{version_tag(record)}" not in refs for record in versions(root)):
        # The remote's tags are the ones that everybody sees. What fails costs only the stage tags on those commits.
        specs = [f"+{TAGS}{name}{mark}*:{TAGS}{name}{mark}*" for name in sorted(names) for mark in ("@v", "#")]
        git_remotely(root, seconds, "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", remote, *specs)
    complete(root)


def _merged(root: Path, theirs: str) -> list[str]:
    """Lines for versions that were renumbered."""
    for _ in range(ROUNDS):
        with suppress(StateMoved), registry_lock(root):
            return merge_state(root, theirs)
    return merge_state(root, theirs)


def _shown(refs: Sequence[str] | dict[str, str]) -> list[str]:
    return [name.removeprefix(HEADS).removeprefix(TAGS) for name in refs]


def _tried(params: Params, work: Callable[[], Ended], unless: Callable[[Ended], bool] = lambda _: False) -> Ended:
    """Several attempts with growing pauses; the last one's ending."""
    pause = params.publish.retry_seconds
    for _ in range(params.publish.attempts - 1):
        ended = work()
        if ended.ok or unless(ended):
            return ended
        say(f"the remote failed ({ended.why}); trying again in {pause:.0f} s", "warning")
        time.sleep(pause)
        pause *= 2
    return work()
