"""State that outlives a run, on one git ref: append-only, moved by compare and swap."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tasks.errors import WorkspaceError

REF = "refs/graft/state"
IDENTITY = {
    f"GIT_{role}_{field}": value
    for role in ("AUTHOR", "COMMITTER")
    for field, value in (("NAME", "graft"), ("EMAIL", "graft@localhost"))
}
"""Whose commits are nobody's own work: what Graft remembers."""
_NOBODY = "0" * 40
_DURABLE = ("-c", "core.fsync=loose-object,reference")
"""git flushes neither by itself: after a power cut `prod`, which is flushed, would show what no history knows."""
_LOCK = re.compile(r"Unable to create '(.+\.lock)': File exists")
LEFT_SECONDS = 60.0
"""git holds the lock of a ref for milliseconds; one of that age was left by a git that was killed."""
NO_HOOKS = ("-c", f"core.hooksPath={os.devnull}")
"""A person's hooks are for a person's work: one that asks or refuses would stop a run at night."""
FULL, FREE = "No space left on device", "free some disk, then run again"
MISLEADING = ("GIT_DIR", "GIT_WORK_TREE", "GIT_COMMON_DIR", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_PREFIX")


class StateMoved(WorkspaceError):
    """Another run moved the ref first; read it again and decide again."""


class StateRef:
    """Files kept on refs/graft/state of the repository that holds `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def head(self) -> str | None:
        """The ref's commit, or None before the first write.

        Raises:
            WorkspaceError: `root` is in no git repository, or git is missing.
        """
        # for-each-ref succeeds without a match, so that a failure of git is never taken for an empty memory.
        found = self._git("for-each-ref", "--format=%(objectname)", REF)
        return found.stdout.decode().strip() or None

    def read(self, path: str, commit: str | None = None) -> bytes | None:
        """Content of one file at `commit` (default: now), or None where there is none.

        Raises:
            WorkspaceError: as `head`, or the repository is damaged.
        """
        at = commit or self.head()
        if at is None or b" blob " not in self._git("ls-tree", "--full-tree", at, "--", path).stdout:
            return None
        return self._git("cat-file", "blob", f"{at}:{path}").stdout

    def paths(self, folder: str, commit: str | None = None) -> list[str]:
        """Paths of the files directly below a folder at `commit` (default: now).

        Raises:
            WorkspaceError: as `head`.
        """
        at = commit or self.head()
        if at is None:
            return []
        listed = self._git("ls-tree", "--full-tree", "-z", "--name-only", at, "--", f"{folder}/").stdout
        return [name for name in listed.decode().split("\0") if name]

    def write(self, files: Mapping[str, bytes], message: str, expected: str | None) -> str:
        """Commit files on top of `expected` and move the ref from there.

        Raises:
            StateMoved: the ref is no longer at `expected`.
        """
        commit = self.commit(files, message, expected)
        self.move(commit, expected, message)
        return commit

    def commit(self, files: Mapping[str, bytes], message: str, parent: str | None) -> str:
        """A commit of the parent's files and these, on top of it; the ref stays where it is."""
        with tempfile.TemporaryDirectory() as folder:
            index = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
            self._git("read-tree", parent or "--empty", env=index)
            blobs = {path: self._git("hash-object", "-w", "--stdin", data=data) for path, data in files.items()}
            lines = "".join(f"100644 {blob.stdout.decode().strip()}\t{path}\n" for path, blob in blobs.items())
            self._git("update-index", "--add", "--index-info", data=lines.encode(), env=index)
            tree = self._git("write-tree", env=index).stdout.decode().strip()
        above = ["-p", parent] if parent else []
        return self._git("commit-tree", tree, *above, "-m", message, env=IDENTITY).stdout.decode().strip()

    def move(self, commit: str, expected: str | None, message: str) -> None:
        """Have the ref point to a commit, if it is at `expected` still.

        Raises:
            StateMoved: it is not.
            WorkspaceError: it could not be, as on a full disk.
        """
        moved = self._git(
            "update-ref", "-m", message, REF, commit, expected or _NOBODY, check=False, env={"LC_ALL": "C"}
        )
        if moved.returncode != 0:
            said = moved.stderr.decode(errors="replace").strip()
            if lock := _left_lock(said):
                raise WorkspaceError(
                    f"{REF} cannot be moved in {self.root}: an interrupted git left {lock}; when no git is at work "
                    f"there any more, `rm {shlex.quote(str(lock))}`, then run again"
                )
            # On a full disk git says only that it could not write; another's lock is a ref that is being moved.
            if self.head() == expected and "File exists" not in said:
                raise WorkspaceError(f"{REF} cannot be moved in {self.root}: {said}; {FREE}")
            raise StateMoved(f"{REF} was moved by another run: {said}")

    def _git(
        self, *arguments: str, data: bytes | None = None, env: Mapping[str, str] | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[bytes]:
        return run_git(self.root, *arguments, data=data, env=env, check=check, options=_DURABLE)


def _left_lock(said: str) -> Path | None:
    """The lock that git found in its way, if it is older than any that is held."""
    found = _LOCK.search(said)
    try:
        return Path(found[1]) if found and time.time() - Path(found[1]).stat().st_mtime > LEFT_SECONDS else None
    except OSError:
        return None


def in_git(root: Path) -> bool:
    """Whether `root` lies in a checkout, told without git: one that git refuses to read is a checkout still."""
    return any((folder / ".git").exists() for folder in (root, *root.parents))


def run_git(
    root: Path,
    *arguments: str,
    data: bytes | None = None,
    env: Mapping[str, str] | None = None,
    check: bool = True,
    options: Sequence[str] = (),
) -> subprocess.CompletedProcess[bytes]:
    """Run git in the repository that holds `root`.

    Args:
        options: of git itself, before its command.
    Raises:
        WorkspaceError: git cannot be run, or with `check` it fails.
    """
    # A caller's GIT_DIR or GIT_INDEX_FILE (git sets them for its hooks) would lead to another repository.
    inherited = {name: value for name, value in os.environ.items() if name not in MISLEADING}
    try:
        done = subprocess.run(
            ["git", *NO_HOOKS, *options, *arguments],
            cwd=root,
            input=data,
            capture_output=True,
            env={**inherited, **(env or {})},
        )
    except OSError as err:
        raise WorkspaceError(f"git cannot be run in {root} ({err.strerror}: {err.filename}); install git") from err
    if check and done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip()
        mend = "mend what git says" if in_git(root) else "a workspace is a git checkout (`git init` makes one)"
        raise WorkspaceError(f"git {arguments[0]} failed in {root}: {said}; {FREE if FULL in said else mend}")
    return done
