"""State that outlives a run, on one git ref: append-only, moved by compare and swap."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tasks.errors import WorkspaceError

REF = "refs/graft/state"
_IDENTITY = {
    f"GIT_{role}_{field}": value
    for role in ("AUTHOR", "COMMITTER")
    for field, value in (("NAME", "graft"), ("EMAIL", "graft@localhost"))
}
_NOBODY = "0" * 40


class StateMoved(WorkspaceError):
    """Another run moved the ref first; read it again and decide again."""


class StateRef:
    """Files kept on refs/graft/state of the repository that holds `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def head(self) -> str | None:
        """The ref's commit, or None before the first write."""
        found = self._git("rev-parse", "--verify", "--quiet", REF, check=False)
        return found.stdout.decode().strip() or None

    def read(self, path: str, commit: str | None = None) -> bytes | None:
        """Content of one file at `commit` (default: now), or None where there is none."""
        at = commit or self.head()
        if at is None:
            return None
        found = self._git("cat-file", "blob", f"{at}:{path}", check=False)
        return found.stdout if found.returncode == 0 else None

    def write(self, files: Mapping[str, bytes], message: str, expected: str | None) -> str:
        """Commit files on top of `expected` and move the ref from there.

        Raises:
            StateMoved: the ref is no longer at `expected`.
        """
        with tempfile.TemporaryDirectory() as folder:
            index = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
            self._git("read-tree", expected or "--empty", env=index)
            for path, data in files.items():
                blob = self._git("hash-object", "-w", "--stdin", data=data).stdout.decode().strip()
                self._git("update-index", "--add", "--cacheinfo", f"100644,{blob},{path}", env=index)
            tree = self._git("write-tree", env=index).stdout.decode().strip()
        parent = ["-p", expected] if expected else []
        commit = self._git("commit-tree", tree, *parent, "-m", message, env=_IDENTITY).stdout.decode().strip()
        moved = self._git("update-ref", "-m", message, REF, commit, expected or _NOBODY, check=False)
        if moved.returncode != 0:
            raise StateMoved(f"{REF} was moved by another run: {moved.stderr.decode().strip()}")
        return commit

    def _git(
        self, *arguments: str, data: bytes | None = None, env: Mapping[str, str] | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[bytes]:
        done = subprocess.run(
            ["git", *arguments], cwd=self.root, input=data, capture_output=True, env={**os.environ, **(env or {})}
        )
        if check and done.returncode != 0:
            raise WorkspaceError(
                f"git {arguments[0]} failed in {self.root}: {done.stderr.decode(errors='replace').strip()}; "
                "a workspace is a git checkout (`git init` makes one)"
            )
        return done
