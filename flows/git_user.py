"""Who works here, as git knows them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from flows.state import IDENTITY, in_git
from tasks.errors import WorkspaceError


def git_user(root: Path) -> str | None:
    """git's user.name, as a commit here would bear it; None where there is none, or no git."""
    return _setting(root, "user.name")


def check_identity(root: Path) -> None:
    """Refuse to begin what ends in a commit where git does not know whose it is.

    Raises:
        WorkspaceError: `root` is in no checkout, the checkout has no commit yet, or git knows no name or address.
    """
    if not in_git(root):
        raise WorkspaceError(
            f"{root} is no git checkout, and publishing is a commit and a tag; `git init` it and commit it, or run "
            "without --publish"
        )
    if not _answer(root, "rev-parse", "--verify", "--quiet", "HEAD^{commit}"):
        raise WorkspaceError(
            f"{root} has no commit yet for a published version to stand on; `git add -A && git commit -m Start`"
        )
    missing = [
        f'git config user.{field} "{example}"'
        for field, example in (("name", "Your Name"), ("email", "you@example.org"))
        if not (_setting(root, f"user.{field}") or _named_by_environment(field))
    ]
    if missing:
        raise WorkspaceError(f"git does not know who publishes from {root}; run `{' && '.join(missing)}`")


def stand_in(root: Path) -> Mapping[str, str]:
    """Variables under which git makes a tag or commit of ours where it knows nobody: Graft's own name, else none."""
    return {} if _answer(root, "var", "GIT_COMMITTER_IDENT") and _answer(root, "var", "GIT_AUTHOR_IDENT") else IDENTITY


def _named_by_environment(field: str) -> bool:
    """A worker without git settings is told by variables; a commit needs both roles."""
    roles = (f"GIT_AUTHOR_{field.upper()}", f"GIT_COMMITTER_{field.upper()}")
    return all(os.environ.get(name) for name in roles) or (field == "email" and bool(os.environ.get("EMAIL")))


def _setting(root: Path, key: str) -> str | None:
    return _answer(root, "config", key)


def _answer(root: Path, *arguments: str) -> str | None:
    try:
        asked = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True)
    except OSError:
        return None
    return asked.stdout.strip() or None
