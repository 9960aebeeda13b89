"""What a run's worktree gets of its checkout's DVC: the cache, the remotes, and what this machine alone knows."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from flows.dvc_commands import dvc_cache_dir, ensure_dvc
from tasks.errors import WorkspaceError
from tasks.workspace import Workspace


def lend_dvc(home: Path, workspace: Workspace) -> None:
    """Write the worktree's .dvc/config.local, which git ignores: readable by this account only, gone with the worktree.

    It holds the checkout's config.local (credentials of remotes), the cache's absolute place, paths that the commit's
    .dvc/config gives relative to itself as the checkout would read them, and a place within the worktree for what DVC
    remembers by path, which is of no use to another.

    Raises:
        WorkspaceError: DVC's settings of the checkout or of the commit cannot be read.
    """
    from dvc.config import Config, ConfigError, merge

    own = workspace.root / ".dvc"
    if not own.is_dir():
        ensure_dvc(workspace)
    settings = {
        "cache": {"dir": str(dvc_cache_dir(Workspace(home))), "type": "reflink,copy"},
        "core": {"site_cache_dir": str(own / "tmp" / "site_cache")},
    }
    file = own / "config.local"
    try:
        lent = _relative_paths(Config(dvc_dir=str(own), validate=False).load_one("repo"), own, home / ".dvc")
        merge(lent, _plain(Config(dvc_dir=str(home / ".dvc"), validate=False).load_one("local")))
        merge(lent, settings)
        os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600))
        with Config(dvc_dir=str(own)).edit("local") as config:
            merge(config, lent)
    except ConfigError as err:
        raise WorkspaceError(f"DVC's settings of {home} cannot be lent to {own}: {err}; mend .dvc/config") from err


def _relative_paths(settings: Any, own: Path, home: Path) -> Any:
    """Only what was given relative to `own`, as absolute paths that start at `home` instead."""
    from dvc.config_schema import RelPath

    if isinstance(settings, dict):
        moved = {key: _relative_paths(value, own, home) for key, value in settings.items()}
        return {key: value for key, value in moved.items() if value}
    return os.path.normpath(home / os.path.relpath(settings, own)) if isinstance(settings, RelPath) else None


def _plain(settings: Any) -> Any:
    """Without DVC's marks of how a path was written, by which it would write it relative again."""
    if isinstance(settings, dict):
        return {key: _plain(value) for key, value in settings.items()}
    return str(settings) if isinstance(settings, str) else settings
