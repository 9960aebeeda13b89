"""`graft doctor`: what on this machine would make a run fail or lie, and how to mend it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Literal

from packaging.markers import default_environment
from packaging.requirements import Requirement

from flows.dvc_commands import run_dvc
from flows.finding import Finding
from flows.limits import EVERYTHING, disk_shortfalls, memory_shortfalls, thread_warnings, training_notes
from flows.memory import available_bytes
from flows.registry_findings import git_locks, production
from flows.run_claims import living_runs
from flows.worktrees import dead_runs
from tasks.errors import GraftError, counted
from tasks.params import load_params
from tasks.threads import usable_cores
from tasks.workspace import Workspace

GPU_SECONDS = 10.0
MIGRATE = "`graft migrate`"
SAFE_CACHE_TYPES = {"reflink", "copy"}


def examine(workspace: Workspace) -> list[Finding]:
    """Every finding, in a fixed order."""
    return [
        _python(),
        _params(workspace),
        _pins(),
        _lock(workspace),
        _git(workspace),
        git_locks(workspace),
        left_behind(workspace),
        production(workspace),
        *_limits(workspace),
        _cache_type(workspace),
        _remote(workspace),
        _gpu(),
    ]


def _python() -> Finding:
    return Finding(check="python", state="ok", detail=sys.version.split()[0])


def _params(workspace: Workspace) -> Finding:
    try:
        load_params(workspace.params)
    except GraftError as err:
        # An error of ours says what is wrong first; of a file of the version before, the mend is one command.
        detail, earlier, _ = str(err).partition(f"; run {MIGRATE}")
        mend = f"{MIGRATE} (`graft migrate --dry-run` shows the change)" if earlier else "edit params.yaml as it says"
        return Finding(check="params", state="wrong", detail=detail, mend=mend)
    return Finding(check="params", state="ok", detail="params.yaml is valid")


def _pins() -> Finding:
    """The bounds of pyproject.toml: some of them break Prefect silently when passed."""
    environment = {**default_environment(), "extra": "pipeline"}
    wrong = []
    for text in requires("graft") or []:
        requirement = Requirement(text)
        if requirement.marker and not requirement.marker.evaluate({k: str(v) for k, v in environment.items()}):
            continue
        try:
            found = version(requirement.name)
        except PackageNotFoundError:
            wrong.append(f"{requirement.name} is missing")
            continue
        if not requirement.specifier.contains(found, prereleases=True):
            wrong.append(f"{requirement.name} {found} is outside {requirement.specifier}")
    if wrong:
        mend = "pip install -r requirements.lock"
        return Finding(check="pins", state="wrong", detail="; ".join(wrong), mend=mend)
    return Finding(check="pins", state="ok", detail="every package is inside the bounds of pyproject.toml")


def _lock(workspace: Workspace) -> Finding:
    lock = workspace.root / "requirements.lock"
    if not lock.is_file():
        mend = "git checkout requirements.lock"
        return Finding(check="lock", state="wrong", detail="requirements.lock is missing", mend=mend)
    other = []
    for name, pinned in re.findall(r"^([A-Za-z0-9_.\-]+)==([^\s;]+)", lock.read_text("utf-8"), flags=re.MULTILINE):
        try:
            found = version(name)
        except PackageNotFoundError:
            continue
        if found != pinned:
            other.append(f"{name} {found} (locked {pinned})")
    if other:
        detail = f"{len(other)} packages differ from requirements.lock: {', '.join(other[:5])}"
        return Finding(check="lock", state="note", detail=detail, mend="pip install -r requirements.lock")
    return Finding(check="lock", state="ok", detail="installed as requirements.lock says")


def _git(workspace: Workspace) -> Finding:
    if shutil.which("git") is None:
        return Finding(check="git", state="wrong", detail="git is missing", mend="install git")
    done = subprocess.run(["git", "rev-parse", "--is-inside-work-tree"], cwd=workspace.root, capture_output=True)
    if done.returncode != 0:
        detail = "the workspace is no git checkout; releases are remembered in git"
        return Finding(check="git", state="wrong", detail=detail, mend="git init && git add -A && git commit")
    return Finding(check="git", state="ok", detail="the workspace is a git checkout")


def left_behind(workspace: Workspace) -> Finding:
    """Worktrees of runs that were killed."""
    dead, living = dead_runs(workspace.home), living_runs(workspace.home)
    working = f"{counted(len(living), 'run')} in a worktree now" if living else "no run in a worktree now"
    if not dead:
        return Finding(check="worktrees", state="ok", detail=f"{working}; none was left behind")
    left = f"{counted(len(dead), 'run')} killed, left behind: {', '.join(dead[:5])}"
    mend = "`graft gc` clears up, as does the next deployed run"
    return Finding(check="worktrees", state="note", detail=f"{working}; {left}", mend=mend)


def _limits(workspace: Workspace) -> list[Finding]:
    """Disk, memory and threads as a run of every stage would ask for them."""
    try:
        params = load_params(workspace.params)
    except GraftError:  # The finding on params.yaml says why.
        detail = "what a run asks for is not known before params.yaml is mended"
        return [Finding(check="disk", state="note", detail=f"{_free_gb(workspace):.1f} GB free; {detail}")]
    try:
        disk, memory = disk_shortfalls(workspace, params, EVERYTHING), memory_shortfalls(params, EVERYTHING)
    except GraftError as err:
        mend = "mend .dvc/config first"
        return [Finding(check="disk", state="wrong", detail=str(err).splitlines()[0], mend=mend)]
    found = [
        _short("disk", disk, f"{_free_gb(workspace):.1f} GB free", training_notes(workspace, params, EVERYTHING)),
        _short("memory", memory, f"{available_bytes() / 1e9:.1f} GB available"),
    ]
    threads = thread_warnings(params, EVERYTHING)
    if threads:
        mend = "lower limits.threads, or set it to 0 for every core"
        return [*found, Finding(check="threads", state="note", detail="; ".join(threads), mend=mend)]
    return [*found, Finding(check="threads", state="ok", detail=f"{usable_cores()} cores")]


def _free_gb(workspace: Workspace) -> float:
    return shutil.disk_usage(workspace.root).free / 1e9


def _short(check: str, shortfalls: list[str], well: str, notes: Sequence[str] = ()) -> Finding:
    lines = [*shortfalls, *notes]
    if not lines:
        return Finding(check=check, state="ok", detail=well)
    detail, mends = zip(*(line.split("; ", 1) for line in lines), strict=True)
    state: Literal["note", "wrong"] = "wrong" if shortfalls else "note"
    return Finding(check=check, state=state, detail="; ".join(detail), mend="; ".join(dict.fromkeys(mends)))


def _dvc_setting(workspace: Workspace, name: str) -> str | None:
    try:
        return run_dvc(workspace, "config", name).strip() or None
    except GraftError:
        return None


def _cache_type(workspace: Workspace) -> Finding:
    found = _dvc_setting(workspace, "cache.type") or "reflink,copy"
    if set(found.split(",")) - SAFE_CACHE_TYPES:
        detail = f"DVC cache.type is {found}: a write to a linked file changes the cache itself, silently"
        return Finding(check="cache", state="wrong", detail=detail, mend="dvc config --local cache.type reflink,copy")
    return Finding(check="cache", state="ok", detail=f"DVC cache.type is {found}")


def _remote(workspace: Workspace) -> Finding:
    name = _dvc_setting(workspace, "core.remote")
    if not name:
        mend = "dvc remote add -d NAME URL"
        return Finding(check="remote", state="note", detail="no DVC remote; data and models live here only", mend=mend)
    return Finding(check="remote", state="ok", detail=f"DVC remote {name}")


def _gpu() -> Finding:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return Finding(check="gpu", state="note", detail="no GPU found; the linear probe needs none")
    query = [tool, "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, timeout=GPU_SECONDS, check=True)
        names = done.stdout.decode(errors="replace").strip().replace("\n", "; ")
    except subprocess.SubprocessError:
        names = ""
    if not names:
        mend = "check the driver with nvidia-smi"
        return Finding(check="gpu", state="note", detail="nvidia-smi is there but shows no GPU", mend=mend)
    return Finding(check="gpu", state="ok", detail=names)
