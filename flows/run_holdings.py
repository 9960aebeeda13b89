"""What runs in worktrees leave behind, piece by piece: worktrees, branches, copies of raw data and of releases."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from flows.dvc_commands import dvc_cache_dir
from flows.holdings import Holding, folders, holding
from flows.live_releases import reasons_to_stay
from flows.raw_copies import copy_lock, discard_copy, raw_folder, used_copies
from flows.run_claims import BRANCHES, claims, end_dead_run, living_runs, worktrees_folder
from flows.state import in_git, run_git
from flows.tracked_data import tracked_data
from flows.versions import version_name, versions
from flows.worktrees import dead_runs, lives, living_workspaces, remove_worktree, workspace_root
from tasks.errors import GraftError
from tasks.params import load_params
from tasks.reports.champion import ChampionPin
from tasks.workspace import Workspace

REGISTERED = "registered as "


def run_holdings(workspace: Workspace, keep_runs: int) -> Iterator[Holding]:
    """All of them, by kind."""
    yield from run_workspaces(workspace)
    yield from run_branches(workspace, keep_runs)
    yield from raw_copies(workspace)
    yield from pinned_releases(workspace)


def run_workspaces(workspace: Workspace) -> Iterator[Holding]:
    """Worktrees of runs; one in which a run lives stays."""
    home = workspace.home
    dead = set(dead_runs(home))
    for run_id in claims(home):
        keep = None if run_id in dead else "a run is working in it"
        garbage = "its run was killed" if run_id in dead else None
        yield holding("run workspace", run_id, [worktrees_folder(home) / run_id], keep, garbage)


def remove_run_workspace(workspace: Workspace, run_id: str) -> bool:
    """False: a run lives in it. The caller holds `claims_guard`."""
    home = workspace.home
    if lives(home, run_id) or not end_dead_run(home, run_id, workspace_root(home, run_id)):
        return False
    remove_worktree(home, run_id)
    return True


@dataclass(frozen=True)
class RunBranch:
    """A branch graft/run/<run_id> and why it stays; `keep` is None where it may go."""

    name: str
    tip: str
    keep: str | None


def branches_of_runs(workspace: Workspace, keep_runs: int) -> list[RunBranch]:
    """The newest first. One whose version is registered stays for ever: it is the version's history.

    Raises:
        WorkspaceError: git or the state cannot be read.
    """
    if not in_git(workspace.root):
        return []
    records = versions(workspace.root)
    by_branch = {record.branch: f"{REGISTERED}v{record.version}" for record in records if record.branch}
    by_commit = {record.commit: f"{REGISTERED}v{record.version}" for record in records if record.commit}
    layout = "%(refname:short)%09%(objectname)%09%(worktreepath)"
    order = ("--sort=-committerdate", "--sort=-refname")
    listed = run_git(workspace.root, "for-each-ref", *order, f"--format={layout}", f"refs/heads/{BRANCHES}")
    found: list[RunBranch] = []
    spare = keep_runs
    for line in listed.stdout.decode(errors="replace").splitlines():
        name, tip, checked_out = line.split("\t")
        keep = by_branch.get(name) or by_commit.get(tip)
        if keep is None and lives(workspace.home, name.removeprefix(BRANCHES)):
            keep = "a run is working on it"
        if keep is None and checked_out and not Path(checked_out).is_relative_to(worktrees_folder(workspace.home)):
            keep = f"checked out in {checked_out}"
        if keep is None and spare > 0:
            keep, spare = f"one of the newest {keep_runs}", spare - 1
        found.append(RunBranch(name, tip, keep))
    return found


def runs_in_use(workspace: Workspace, store: Path) -> dict[str, str]:
    """Why the results and reports of a run stay: it works, or its release must; who decides on a version reads them."""
    try:
        records = versions(workspace.root) if in_git(workspace.root) else []
    except GraftError:  # No release goes then either.
        records = []
    live = reasons_to_stay(workspace, store)
    stay = {
        record.run_id: f"of {version_name(record.version)}, which stays: {live[record.manifest_sha256]}"
        for record in records
        if record.manifest_sha256 in live
    }
    return stay | dict.fromkeys(living_runs(workspace.home), "a run is working")


def run_branches(workspace: Workspace, keep_runs: int) -> Iterator[Holding]:
    """Branches take next to no room themselves; what only they name, DVC's next collection gives back."""
    try:
        found = branches_of_runs(workspace, keep_runs)
    except GraftError:
        return
    for branch in found:
        garbage = None if branch.keep else f"older than the newest {keep_runs}, and no version"
        yield holding("run branch", branch.name, [], branch.keep, garbage)


def remove_branch(workspace: Workspace, name: str, keep_runs: int) -> bool:
    """Judged again; False: it stays, or somebody moved it meanwhile."""
    with suppress(GraftError):
        for branch in branches_of_runs(workspace, keep_runs):
            if branch.name == name and branch.keep is None:
                ref = f"refs/heads/{name}"
                return run_git(workspace.root, "update-ref", "-d", ref, branch.tip, check=False).returncode == 0
    return False


def raw_copies(workspace: Workspace) -> Iterator[Holding]:
    """Copies of raw data; what shares its room with DVC's cache counts nothing."""
    used = _used_raw(workspace)
    for folder in folders(raw_folder(workspace.home)):
        piece = holding("raw data", folder.name, [folder])
        alone = 0 if _shares_room(folder, dvc_cache_dir(workspace)) else piece.bytes
        keep = used.get(folder.name)
        garbage = None if keep else "neither this checkout nor a living run names it"
        yield Holding("raw data", folder.name, (folder,), alone, piece.used_at, keep, garbage)


def remove_raw_copy(workspace: Workspace, md5: str) -> bool:
    """False: it came into use. The caller holds `claims_guard`, so no run begins meanwhile."""
    folder = raw_folder(workspace.home)
    try:
        with copy_lock(folder, md5, wait=False):
            if md5 in _used_raw(workspace):
                return False
            discard_copy(folder / md5)
    except BlockingIOError:
        return False
    return True


def _used_raw(workspace: Workspace) -> dict[str, str]:
    """Why each digest is of use."""
    used = {}
    with suppress(GraftError):
        params = load_params(workspace.params)
        for path in (workspace.resolve(params.data.path), workspace.raw):
            tracked = tracked_data(workspace, path)
            if tracked is not None and tracked.folder_md5:
                used[tracked.folder_md5] = f"{workspace.relative(tracked.dvc_file)} names it"
    for living in living_workspaces(workspace.home):
        used.update(dict.fromkeys(used_copies(living), "a run reads it"))
    return used


def _shares_room(folder: Path, cache: Path) -> bool:
    """Whether its files are other names of files in DVC's cache; they are all of one making."""
    first = next((path for path in folder.rglob("*") if path.is_file()), None)
    with suppress(OSError):
        return first is not None and first.stat().st_nlink > 1 and first.stat().st_dev == cache.stat().st_dev
    return False


def pinned_releases(workspace: Workspace) -> Iterator[Holding]:
    """Copies of releases that the last run at the desk compared with; the next one copies what it needs."""
    folder = workspace.pinned_release("x").parent
    named: set[str] = set()
    with suppress(GraftError, OSError):
        pin = ChampionPin.read(workspace.champion_pin)
        named = {release.manifest_sha256 for release in (pin.champion, pin.best) if release is not None}
    for copy in folders(folder):
        keep = "data/champion.json names it" if copy.name in named else None
        places = [copy, copy.with_name(f"{copy.name}.items.parquet")]
        garbage = None if keep else "no run compares with it now"
        yield holding("pinned release", copy.name, [place for place in places if place.exists()], keep, garbage)
