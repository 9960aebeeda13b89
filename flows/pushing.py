"""What was published here goes to the remotes: first DVC's data, then branches, tags and the registry in one push.

What is not there yet is asked of the remotes, not remembered: an interrupted push is found by the next. The registry's
ref is only ever moved forward; where another machine was first, its history is taken over and ours follows
(`flows.state_merge`).
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from flows.bounded_commands import Ended, git_remotely
from flows.data_push import dvc_store, push_data, unsent_records
from flows.journal import HISTORY, VERSIONS, Journal
from flows.records import StageChange, VersionRecord
from flows.registry_refs import (
    HEADS,
    TAGS,
    completed_if_possible,
    local_refs,
    own_records,
    registry_lock,
    registry_tags_of,
)
from flows.registry_tags import artifact_name, version_tag
from flows.remote_places import git_place, without_remote
from flows.remote_registry import pushed_versions, seen_at
from flows.remote_tries import NotPushed, Patience, tried
from flows.run_claims import BRANCHES
from flows.settled_pointer import settle_pointer
from flows.state import REF, StateMoved, run_git
from flows.state_merge import merge_state
from flows.versions import version_name, versions
from tasks.errors import GraftError
from tasks.params import Params
from tasks.stage import say
from tasks.workspace import Workspace

FETCH_SECONDS = 10.0
"""How long the start of a run waits for the remote."""
PUSH_SECONDS = 300.0
REGISTRY_SECONDS = 30.0
"""How long a change of stage waits for the remote to be told of it."""
ROUNDS = 20
"""How often a push begins anew because another machine was faster; each time one of them wins."""
TAG_ROUNDS = 2
PUSH = (
    *("-c", "push.pushOption=", "push", "--atomic", "--porcelain", "--no-verify", "--no-signed", "--no-follow-tags"),
    "--recurse-submodules=no",
)
"""Whatever a person has set for pushes of their own: nothing but what is named goes, and nothing asks."""
LONGEST_STEP_ASIDE_SECONDS = 0.5
_MOVED = ("fetch first", "non-fast-forward", "stale info", "failed to update ref", "cannot lock ref", "incorrect old")


@dataclass(frozen=True)
class Pushed:
    """How pushing ended.

    Attributes:
        pushed: True: all is at the remotes. None: what is not there has no remote to go to, or there is no version.
        not_pushed: what is not there, and why.
        done: what was transferred, in words; empty where everything was there already.
    """

    pushed: bool | None
    not_pushed: str | None = None
    done: Sequence[str] = ()


class _TagTaken(NotPushed):
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
    root, store = workspace.root, dvc_store(workspace, params)
    for line in completed_if_possible(root):
        say(line)
    remote = params.publish.git_remote if params.publish.git_remote in git_remotes(root) else None
    if store is None and remote is None:
        return Pushed(None, "neither git nor DVC has a remote; the version stays on this machine")
    if not versions(root):
        return Pushed(None, "no version is published yet (`graft adapt --publish`)")
    done: list[str] = []
    faults: dict[str, str] = {}
    try:
        if store is not None:
            sent, faults = push_data(workspace, params, store)
            done += sent
        if remote is not None:
            if _none_is_whole(root, remote, faults):
                raise NotPushed(_joined(faults))
            done += _push_refs(root, remote, Patience.of(params))
            _settle(workspace, params)
    except (NotPushed, GraftError) as err:
        return Pushed(False, str(err), done)
    if faults:
        return Pushed(False, _joined(faults), done)
    lacking = without_remote(root, remote, store)
    return Pushed(None if lacking else True, lacking, done)


def _none_is_whole(root: Path, remote: str, faults: Mapping[str, str]) -> bool:
    """Whether all that is new to the remote's registry lacks data for good. One whole version is held up by no other,
    and what the registry names already holds up nothing.
    """
    own = {record.manifest_sha256 for record in own_records(versions(root), local_refs(root))}
    new = own - (pushed_versions(root, remote) or set())
    return bool(new) and new <= set(faults)


def _joined(faults: Mapping[str, str]) -> str:
    return "; ".join(dict.fromkeys(faults.values()))


def _settle(workspace: Workspace, params: Params) -> None:
    """Have `prod` show what is live by the registry as it is now; a change of this machine's may have lost."""
    with suppress(GraftError):  # Whoever reads production next is told.
        for line in settle_pointer(workspace, workspace.store(params.publish.store), ask=False):
            say(line, "warning")


def push_registry(workspace: Workspace, params: Params, seconds: float = REGISTRY_SECONDS) -> str | None:
    """Tell git's remote of what changed in the registry, such as a promotion, without any data: for right after it.

    Each command is tried once and all of it ends within `seconds`. What other machines published is taken over first.
    Versions whose data are not at DVC's remote yet keep everything back: the registry names them.

    Returns:
        why the remote does not know of it, in a sentence without a mend (`graft push` is one); None where it does, or
        where there is no remote.
    """
    root, remote = workspace.root, params.publish.git_remote
    try:
        if remote not in git_remotes(root):
            return None
        if waiting := _without_data(workspace, params, remote):
            return f"the data of {', '.join(waiting)} are not at DVC's remote yet"
        _push_refs(root, remote, Patience.short(seconds))
    except (NotPushed, GraftError) as err:
        return str(err)
    return None


def _without_data(workspace: Workspace, params: Params, remote: str) -> list[str]:
    """Versions of this repository that neither git's remote knows nor DVC's has the data of."""
    store = dvc_store(workspace, params)
    if store is None:
        return []
    known = pushed_versions(workspace.root, remote) or set()
    unsent = [one for one in unsent_records(workspace, store) if one.manifest_sha256 not in known]
    return [version_name(one.version) for one in unsent]


def _push_refs(root: Path, remote: str, patience: Patience) -> list[str]:
    for attempt in range(ROUNDS):
        if patience.over:
            raise NotPushed(f"{remote} did not answer in time")
        fetched = tried(patience, lambda: _fetch(root, remote, patience.seconds(PUSH_SECONDS)))
        if not fetched.ok:
            raise NotPushed(f"{remote} did not give its registry: {fetched.why}")
        _take_over(root, remote, patience.seconds(PUSH_SECONDS))
        try:
            pushed = _pushed_once(root, remote, patience)
        except _TagTaken:
            # It may belong to a push that is just arriving.
            if attempt >= TAG_ROUNDS:
                raise
            pushed = None
        if pushed is not None:
            return pushed
        # Not in step with the other one again.
        time.sleep(random.uniform(0, LONGEST_STEP_ASIDE_SECONDS))
    raise NotPushed(f"other machines kept publishing to {remote}; `graft push` tries again")


def _pushed_once(root: Path, remote: str, patience: Patience) -> list[str] | None:
    """What was pushed; None where another machine moved the registry meanwhile."""
    there = _remote_refs(root, remote, patience)
    if there.get(REF) != _commit(root, seen_at(remote)):
        return None
    lacking = _lacking(root, remote, there)
    if not lacking:
        return []
    specs, left = [f"{target}:{name}" for name, target in lacking.items()], partial(patience.seconds, PUSH_SECONDS)
    place = git_place(root, remote)
    say(f"pushing {', '.join(_shown(lacking))} to {place}")
    ended = tried(
        patience,
        lambda: git_remotely(root, left(), *PUSH, remote, *specs),
        unless=_registry_moved,
    )
    if _registry_moved(ended):
        return None
    if not ended.ok:
        raise NotPushed(f"{', '.join(_shown(lacking))} to {remote}: {_rejections(ended) or ended.why}")
    if REF in lacking:
        run_git(root, "update-ref", seen_at(remote), lacking[REF], check=False)
    return [f"{name} to {place}" for name in _shown(lacking)]


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


def _remote_refs(root: Path, remote: str, patience: Patience) -> dict[str, str]:
    """Object of every ref of ours and of every tag at the remote; `NAME^{}` is what a tag stands on."""
    patterns, left = (REF, f"{HEADS}{BRANCHES}*", f"{TAGS}*"), partial(patience.seconds, PUSH_SECONDS)
    ended = tried(patience, lambda: git_remotely(root, left(), "ls-remote", "--quiet", remote, *patterns))
    if not ended.ok:
        raise NotPushed(f"{remote} did not answer: {ended.why}")
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
    options = ("--prune", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules")
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
    completed_if_possible(root)


def _merged(root: Path, theirs: str) -> list[str]:
    """Lines for versions that were renumbered."""
    for _ in range(ROUNDS):
        with suppress(StateMoved), registry_lock(root):
            return merge_state(root, theirs)
    return merge_state(root, theirs)


def _shown(refs: Sequence[str] | dict[str, str]) -> list[str]:
    return [name.removeprefix(HEADS).removeprefix(TAGS) for name in refs]
