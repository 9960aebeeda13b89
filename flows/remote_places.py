"""Where what is published goes, in words."""

from __future__ import annotations

from pathlib import Path

from flows.data_push import holds_data
from flows.redaction import redacted
from flows.registry_refs import local_refs, own_records
from flows.state import run_git
from flows.versions import versions


def without_remote(root: Path, remote: str | None, store: str | None) -> str | None:
    """Which half of the versions stays here for want of a remote, and where the other one is; None where none does."""
    if remote is None:
        return "git's part (branches, tags, registry), as git has no remote (`git remote add origin URL`)"
    own = own_records(versions(root), local_refs(root))
    if store is None and any(holds_data(root, record) for record in own):
        mend = "as DVC has no remote (`dvc remote add -d NAME URL`)"
        return f"data and models, {mend}; git's part is at {git_place(root, remote)}"
    return None


def git_place(root: Path, remote: str) -> str:
    """Its name and where it pushes to, without secrets: what is published must surprise nobody."""
    urls = run_git(root, "remote", "get-url", "--push", "--all", remote, check=False).stdout.decode().splitlines()
    return redacted(f"{remote} ({', '.join(urls)})")
