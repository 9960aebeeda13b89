"""A worktree of its own for every deployed run: made from a commit, removed at the end, cleared up after a kill.

The user's checkout, index and branch are never written: git makes the worktree beside them, on the branch
graft/run/<run_id>, and hooks of the repository do not run (`dvc install`'s would copy all data into it).
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from flows.commits import commit_of
from flows.dvc_commands import ensure_dvc
from flows.dvc_lending import lend_dvc
from flows.holdings import discard, held_lock
from flows.processes import marks
from flows.run_claims import (
    RunClaim,
    claim_file,
    claimed,
    claims,
    claims_guard,
    end_dead_run,
    is_claimed,
    read_claim,
    worktrees_folder,
)
from flows.state import run_git
from flows.store import LEAVING
from flows.workspace_lock import workspace_lock
from tasks.errors import GraftError, WorkspaceError
from tasks.reports import write_bytes
from tasks.stage import say
from tasks.workspace import Workspace

SHARED = ("runs", "checkpoints")
"""Folders of .graft that a worktree has in common with its checkout: results and logs outlive it, and an interrupted
training goes on in the next run (its files are named by what determines their content; two writers write the same)."""
KEPT_SUFFIXES = frozenset({".html", ".json", ".csv"})
KEPT_BYTES = 20_000_000
"""Of a run's reports, what a person reads stays in .graft/runs/<run_id>; tables of predictions do not."""
_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


@contextmanager
def run_workspace(home: Path, commit: str, run_id: str) -> Iterator[Workspace]:
    """A workspace of the run's own at `commit`, locked for this process; it is gone afterwards, however the run ended.

    What killed runs left behind is cleared up first. The branch stays if the run made a commit on it. Results, logs and
    checkpoints go to the checkout, the reports that people read to .graft/runs/<run_id>. Raw data under DVC are not
    there yet: once params.yaml is final, `flows.raw_copies.bring_raw_data` leads data.path to them.

    Args:
        home: the checkout.
        commit: a branch (of a remote too), a tag or a commit; what git remotes only have is fetched.
        run_id: unique; letters, digits, `_` and `-`.
    Raises:
        WorkspaceError: no git checkout, no such commit, no Graft workspace at it, or the disk is full.
    """
    home = Workspace(home.resolve()).home
    if not _RUN_ID.fullmatch(run_id):
        raise WorkspaceError(f"run id {run_id!r} cannot name a branch; use letters, digits, `_` and `-`")
    start = commit_of(home, commit)
    with ExitStack() as stack:
        with claims_guard(home):
            for line in clear_dead(home):
                say(line)
            claim = stack.enter_context(claimed(home, run_id, start))
        stack.callback(remove_worktree, home, run_id)
        workspace = _made(home, claim, commit)
        stack.callback(_keep_reports, workspace, home, run_id)
        stack.enter_context(workspace_lock(workspace, run_id))
        yield workspace


def clear_dead(home: Path) -> list[str]:
    """Clear up after every run that was killed; the caller holds `claims_guard`. One line per run.

    What cannot be cleared up, as where a process hangs in a dead disk, stays a dead run: no reason to run no other.

    Raises:
        WorkspaceError: git fails.
    """
    lines = []
    for run_id in dead_runs(home):
        try:
            if end_dead_run(home, run_id, workspace_root(home, run_id)):
                remove_worktree(home, run_id)
                lines.append(f"removed the worktree of run {run_id}, which was killed")
        except (GraftError, OSError) as err:
            say(f"what run {run_id} left, which was killed, stays for now: {err}", "warning")
    for path in worktrees_folder(home).glob(f"{LEAVING}*"):
        shutil.rmtree(path, ignore_errors=True)
    known = set(claims(home))
    for remembered in (git_folder(home) / "worktrees").glob("*"):
        # Its folder was removed by hand.
        if remembered.name not in known and _belongs(remembered, worktrees_folder(home) / remembered.name):
            shutil.rmtree(remembered, ignore_errors=True)
    return lines


def dead_runs(home: Path) -> list[str]:
    """Ids of runs that left something behind and live no more; touches nothing."""
    return [run_id for run_id in claims(home) if not lives(home, run_id)]


def living_workspaces(home: Path) -> list[Workspace]:
    """The worktrees in which a run is working right now."""
    roots = [workspace_root(home, run_id) for run_id in claims(home) if lives(home, run_id)]
    return [Workspace(root) for root in roots if root.is_dir()]


def lives(home: Path, run_id: str) -> bool:
    """Whether a process holds the run's claim, or the lock of its workspace."""
    if is_claimed(home, run_id):
        return True
    with held_lock(Workspace(workspace_root(home, run_id))) as free:
        return not free


def workspace_root(home: Path, run_id: str) -> Path:
    """The workspace in a run's worktree, which lies in it where the checkout's lies in its repository."""
    folder = worktrees_folder(home) / run_id
    top = next((parent for parent in (home, *home.parents) if (parent / ".git").exists()), home)
    return folder / home.relative_to(top)


def remove_worktree(home: Path, run_id: str) -> None:
    """Remove a run's worktree, what git remembers of it, its branch if it holds no work, and last its claim.

    Raises:
        WorkspaceError: git cannot be run.
    """
    folder, claim = worktrees_folder(home) / run_id, read_claim(home, run_id)
    discard(folder)
    common = git_folder(home)
    for remembered in (common / "worktrees").glob("*"):
        if _belongs(remembered, folder):
            shutil.rmtree(remembered, ignore_errors=True)
    if claim is not None:
        with suppress(FileNotFoundError):  # left by a git that was killed
            (common / "refs" / "heads" / f"{claim.branch}.lock").unlink()
        # Fails, as it should, where the branch has moved on: a commit of the run's stands on it.
        run_git(home, "update-ref", "-d", f"refs/heads/{claim.branch}", claim.commit, check=False)
    claim_file(home, run_id).unlink(missing_ok=True)


def git_folder(home: Path) -> Path:
    """The .git folder that all worktrees of the repository share.

    Raises:
        WorkspaceError: no git checkout.
    """
    return (home / run_git(home, "rev-parse", "--git-common-dir").stdout.decode().strip()).resolve()


def _belongs(remembered: Path, folder: Path) -> bool:
    """Whether git's memory of a worktree is of the one at `folder`; one that was cut off has only its name."""
    try:
        place = (remembered / "gitdir").read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError):
        place = ""
    if not place:
        return remembered.name == folder.name and (remembered / "locked").exists()
    return (remembered / place).parent.resolve() == folder.resolve()


def _made(home: Path, claim: RunClaim, named: str) -> Workspace:
    folder, workspace = worktrees_folder(home) / claim.run_id, Workspace(workspace_root(home, claim.run_id))
    where = ("--quiet", "--no-track", "-b", claim.branch, str(folder), claim.commit)
    run_git(home, "worktree", "add", *where, env=marks(workspace.root, claim.run_id))
    if not (workspace.params.is_file() and workspace.dvc_yaml.is_file()):
        raise WorkspaceError(
            f"commit {named} ({claim.commit[:12]}) holds no Graft workspace (params.yaml and dvc.yaml"
            f"{f' in {home.name}' if workspace.root != folder else ''}); name a commit of this project"
        )
    write_bytes(workspace.private / "home", f"{home}\n".encode())
    for name in SHARED:
        (home / ".graft" / name).mkdir(parents=True, exist_ok=True)
        (workspace.private / name).symlink_to(home / ".graft" / name)
    lend_dvc(home, workspace)
    ensure_dvc(workspace)
    return workspace


def kept_reports(home: Path, run_id: str) -> Path:
    """Where the checkout keeps a run's reports, once its worktree is gone."""
    return home / ".graft" / "runs" / run_id


def _keep_reports(workspace: Workspace, home: Path, run_id: str) -> None:
    """Copy what a person reads to the checkout; a full disk loses it, and never the run's own ending."""
    kept = kept_reports(home, run_id)
    try:
        made = (workspace.private / "home").stat().st_mtime_ns
        for file in sorted(workspace.reports.glob("*")):
            stat = file.stat()
            # What is older came with the commit and tells of another run.
            if file.suffix in KEPT_SUFFIXES and stat.st_size <= KEPT_BYTES and stat.st_mtime_ns >= made:
                write_bytes(kept / file.name, file.read_bytes())
    except OSError as err:
        say(f"the reports of run {run_id} could not be kept in {kept}: {err.strerror}", "warning")
