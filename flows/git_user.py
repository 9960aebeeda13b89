"""Who works here, as git knows them."""

from __future__ import annotations

import subprocess
from pathlib import Path


def git_user(root: Path) -> str | None:
    """git's user.name, as a commit here would bear it; None where there is none, or no git."""
    try:
        asked = subprocess.run(["git", "config", "user.name"], cwd=root, capture_output=True, text=True)
    except OSError:
        return None
    return asked.stdout.strip() or None
