"""Objects of DVC's cache that neither the workspace nor any commit refers to; DVC itself finds and removes them."""

from __future__ import annotations

from pathlib import Path

from flows.dvc_commands import dvc_cache_dir, run_dvc
from flows.holdings import Holding, held_lock, holding
from flows.run_claims import living_runs
from flows.state import in_git, run_git
from tasks.errors import GraftError, WorkspaceError
from tasks.workspace import Workspace

REMOVING = "Removing "


def dvc_holdings(workspace: Workspace) -> list[Holding]:
    """What DVC would remove as one piece, and the rest as another."""
    if not (workspace.root / ".dvc").is_dir():
        return []
    cache = dvc_cache_dir(workspace)
    if not (cache / "files").is_dir():
        return []
    everything = holding("DVC objects", str(cache), [cache / "files"])
    reason = _left_alone(workspace, cache)
    if reason is None:
        try:
            unused = _unused(workspace)
        except GraftError as err:
            reason = f"DVC cannot tell what is in use: {err}"
    if reason is not None:
        return [Holding(everything.kind, everything.name, (), everything.bytes, everything.used_at, keep=reason)]
    garbage = holding(
        "DVC objects", "unused", unused, garbage="neither dvc.lock nor any commit or experiment refers to them"
    )
    used = Holding("DVC objects", "in use", (), everything.bytes - garbage.bytes, everything.used_at, keep=IN_USE)
    return [used, *([garbage] if unused else [])]


IN_USE = "dvc.lock, a .dvc file, a commit or an experiment refers to them"


def remove_unused(workspace: Workspace) -> bool:
    """Have DVC remove them; False: by now there is a reason to leave them alone.

    Raises:
        WorkspaceError: git or DVC fails; what was removed until then nothing referred to.
    """
    if _left_alone(workspace, dvc_cache_dir(workspace)) is not None:
        return False
    run_dvc(workspace, "gc", "--force", *_scope(workspace))
    return True


def _left_alone(workspace: Workspace, cache: Path) -> str | None:
    if not cache.resolve().is_relative_to((workspace.root / ".dvc").resolve()):
        return "a DVC cache that other workspaces may share; `dvc gc --projects` knows how to clean it"
    try:
        _scope(workspace)
        others = _other_worktrees(workspace.root)
    except WorkspaceError as err:
        return f"which commits refer to them cannot be told: {' '.join(str(err).split())}"
    if living := living_runs(workspace.home):
        return f"run {min(living)} is working in a worktree, and what it makes no dvc.lock names yet"
    for other in others:
        with held_lock(Workspace(other)) as free:
            if not free:
                return f"a run is working in {other}, and what it makes no dvc.lock names yet"
    return None


def _unused(workspace: Workspace) -> list[Path]:
    output = run_dvc(workspace, "gc", "--dry", "--force", *_scope(workspace))
    lines = [line.removeprefix(REMOVING) for line in output.splitlines() if line.startswith(REMOVING)]
    return [path for line in lines if (path := Path(line)).exists()]


def _scope(workspace: Workspace) -> list[str]:
    """What refers to objects. Where there is a checkout, git must say so: its silence is never taken for no commits."""
    if not in_git(workspace.root):
        return ["--workspace"]
    others = [str(folder) for folder in _other_worktrees(workspace.root)]
    commits = ["--all-commits", "--all-experiments"] if _git(workspace.root, "rev-list", "--all", "-n1") else []
    return ["--workspace", *commits, *(["--projects", *others] if others else [])]


def _other_worktrees(root: Path) -> list[Path]:
    """Worktrees of the same repository that are DVC workspaces too."""
    if not in_git(root):
        return []
    lines = _git(root, "worktree", "list", "--porcelain").splitlines()
    folders = [Path(line.removeprefix("worktree ")) for line in lines if line.startswith("worktree ")]
    return [folder for folder in folders if folder.resolve() != root.resolve() and (folder / ".dvc").is_dir()]


def _git(root: Path, *arguments: str) -> str:
    return run_git(root, *arguments).stdout.decode(errors="surrogateescape").strip()
