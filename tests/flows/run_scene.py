"""A committed toy checkout for runs in worktrees, and drivers in processes of their own, to be killed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from toy_workspace import Toy

from flows.run_claims import worktrees_folder
from flows.worktrees import git_folder

IDENTITY = ("-c", "user.name=ann", "-c", "user.email=ann@example.org")

RUN = """
import sys
from pathlib import Path
from flows.stage_process import run_stage_process
from flows.worktrees import run_workspace

home, run_id, *stages = sys.argv[1:]
with run_workspace(Path(home), "HEAD", run_id) as workspace:
    print("ready", workspace.root, flush=True)
    for stage in stages:
        result = run_stage_process(workspace, stage, run_id, 60, lambda line: print(line, flush=True))
        print("result", stage, result.state, flush=True)
    if not stages:
        sys.stdin.read()
print("gone", flush=True)
"""
"""A run of toy stages; without stages it waits until its stdin is closed."""


def git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *IDENTITY, *arguments], cwd=root, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def commit_all(root: Path, message: str = "Change") -> str:
    """Commit whatever there is; returns the commit."""
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--allow-empty", "-m", message)
    return git(root, "rev-parse", "HEAD")


def committed(toy: Toy) -> Path:
    """The toy workspace as a checkout with one commit; returns its root."""
    (toy.root / ".gitignore").write_text("/.graft/\n/reports/\n__pycache__/\n")
    (toy.root / "data" / ".gitignore").write_text("/raw\n/sample\n/one.txt\n/two.txt\n/three.txt\n")
    commit_all(toy.root, "Begin")
    return toy.root


def start_run(home: Path, run_id: str, *stages: str, script: str = RUN) -> subprocess.Popen[str]:
    """A run in a process and session of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", script, str(home), run_id, *stages],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )


def wait_for_line(process: subprocess.Popen[str], beginning: str) -> str:
    """The first line of its output that begins so."""
    assert process.stdout is not None
    seen: list[str] = []
    for line in process.stdout:
        seen.append(line)
        if line.startswith(beginning):
            return line.strip()
    raise AssertionError(f"no line {beginning!r} in {''.join(seen)}")


def traces(home: Path) -> list[str]:
    """All that runs have left: worktrees and claims, git's memory of them, branches; empty where all is well."""
    folder = worktrees_folder(home)
    found = sorted(path.name for path in folder.iterdir() if path.name != ".lock") if folder.is_dir() else []
    remembered = git_folder(home) / "worktrees"
    found += [f"git remembers {path.name}" for path in remembered.glob("*")]
    found += git(home, "for-each-ref", "--format=%(refname)", "refs/heads/graft").splitlines()
    heads = git_folder(home) / "refs" / "heads" / "graft"
    return found + [str(path) for path in heads.rglob("*.lock")]


def contents(root: Path, without: Sequence[str] = ()) -> dict[str, tuple[int, int, bytes]]:
    """Mode, time and bytes of every file below `root` but those under `without`."""
    found = {}
    for place, folders, names in os.walk(root):
        relative = Path(place).relative_to(root)
        folders[:] = [name for name in folders if (relative / name).as_posix() not in without]
        for name in names:
            stat = (path := Path(place, name)).lstat()
            data = str(path.readlink()).encode() if path.is_symlink() else path.read_bytes()
            found[(relative / name).as_posix()] = (stat.st_mode, stat.st_mtime_ns, data)
    return found
