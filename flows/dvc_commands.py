"""DVC as a subprocess: how it is called, what it says about the stages, how a checkout gets it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flows.redaction import redacted
from tasks.errors import WorkspaceError
from tasks.reports import write_bytes
from tasks.workspace import Workspace

STATUS_TIMEOUT_SECONDS = 600.0
BLOCKED = ("is busy, it is being blocked by", "Unable to acquire lock")
SAFE_CACHE_TYPES = frozenset({"reflink", "copy"})
CONFIG = """\
[cache]
    type = "reflink,copy"
[core]
    analytics = false
    check_update = false
    autostage = false
"""
NO_GIT = "    no_scm = true\n"


def dvc_command(*arguments: str) -> list[str]:
    """DVC of the running interpreter; -P keeps the workspace's own files out of DVC's imports."""
    return [sys.executable, "-P", "-m", "dvc", *arguments]


def dvc_environment() -> dict[str, str]:
    """The environment in which DVC and the stages below it run.

    `python` is this interpreter whatever was activated, and the shell is a plain one whatever the account has. A stage
    takes the code of the folder that it runs in, a worktree's own too, so nothing may keep that off its path.
    """
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    return {**inherited, "PATH": path, "SHELL": "/bin/sh", "PYTHONUNBUFFERED": "1", "DVC_NO_ANALYTICS": "1"}


def dvc_status(ws: Workspace) -> dict[str, list[str]]:
    """Why each stage would run, by stage name as in dvc.yaml; a stage that is up to date is absent.

    Reasons read like `params.yaml split modified`, `data/items.parquet deleted`, `changed command`.

    Raises:
        WorkspaceError: DVC cannot read the workspace, or takes longer than ten minutes.
    """
    output = run_dvc(ws, "status", "--json", timeout_seconds=STATUS_TIMEOUT_SECONDS)
    try:
        entries: dict[str, list[Any]] = json.loads(output)
        return {stage: [reason for entry in found for reason in _reasons(entry)] for stage, found in entries.items()}
    except (ValueError, AttributeError, TypeError) as err:
        raise WorkspaceError(f"`dvc status --json` in {ws.root} gave no JSON object: {output[:300]!r}") from err


def locked_stages(ws: Workspace) -> set[str]:
    """The stages of which dvc.lock remembers a result; none where it is not there or cannot be read."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        lock = YAML(typ="safe").load(ws.dvc_yaml.with_suffix(".lock").read_bytes())
    except (OSError, YAMLError):
        return set()
    stages = lock.get("stages") if isinstance(lock, dict) else None
    return set(stages) if isinstance(stages, dict) else set()


def run_dvc(ws: Workspace, *arguments: str, timeout_seconds: float = STATUS_TIMEOUT_SECONDS) -> str:
    """Run a short DVC command in the workspace; returns its stdout.

    Raises:
        WorkspaceError: it fails or does not end in time; the text holds DVC's own error and the mend.
    """
    shown = f"`dvc {' '.join(arguments)}` in {ws.root}"
    try:
        done = subprocess.run(
            dvc_command(*arguments),
            cwd=ws.root,
            env=dvc_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_seconds,
        )
    except subprocess.TimeoutExpired as err:
        raise WorkspaceError(
            f"{shown} did not end within {timeout_seconds:.0f} s; look for pipes or a hung mount among the data"
        ) from err
    if done.returncode == 0:
        return done.stdout
    lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    raise WorkspaceError(f"{shown} failed: {redacted(explain(lines))}")


def explain(lines: list[str]) -> str:
    """DVC's last lines as one message, with the mend where it is known."""
    text = "; ".join(lines[-5:]) or f"no message (try {' '.join(dvc_command('doctor'))})"
    if any(sign in line for line in lines for sign in BLOCKED):
        return f"another DVC command is working in this workspace ({text}); wait for it to end, then run again"
    if any("dvc.lock" in line for line in lines):
        return f"{text}; dvc.lock may be damaged: `git checkout dvc.lock`, or delete it and run `graft adapt`"
    return text


def ensure_dvc(ws: Workspace) -> list[str]:
    """Make sure that the workspace has DVC set up safely; returns one line per thing done.

    Raises:
        WorkspaceError: `dvc init` fails, or cache.type links files to the cache (a stage that rewrites such a file in
            place changes the cached copy, and `dvc status` goes on saying that nothing changed).
    """
    lines = []
    config, without_git = ws.root / ".dvc" / "config", _scm_options(ws.root) == ["--no-scm"]
    if not config.parent.is_dir():
        run_dvc(ws, "init", "--quiet", *_scm_options(ws.root))
        config.unlink()
    if not config.exists():
        write_bytes(config, (CONFIG + NO_GIT * without_git).encode())
        lines.append("set up DVC in .dvc (it was missing)")
    settings = dvc_settings(ws)
    _refuse_links(settings)
    if without_git and not settings.get("core", {}).get("no_scm"):
        run_dvc(ws, "config", "--local", "core.no_scm", "true")
        lines.append("told DVC that this folder has no git (.dvc/config.local)")
    return lines


def _scm_options(root: Path) -> list[str]:
    if (root / ".git").exists():
        return []
    return ["--subdir"] if any((parent / ".git").exists() for parent in root.parents) else ["--no-scm"]


def dvc_remotes(ws: Workspace) -> list[str]:
    """Names of the remotes that DVC's settings know.

    Raises:
        WorkspaceError: the settings cannot be read.
    """
    return sorted(dvc_settings(ws).get("remote", {}))


def dvc_settings(ws: Workspace) -> Mapping[str, Any]:
    """DVC's settings as it merges them itself: system, user, project, local."""
    from dvc.config import Config, ConfigError

    try:
        settings: Mapping[str, Any] = Config(dvc_dir=str(ws.root / ".dvc"))
    except ConfigError as err:
        raise WorkspaceError(f"DVC's settings of {ws.root} cannot be read: {err}; mend .dvc/config") from err
    return settings


def dvc_cache_dir(ws: Workspace) -> Path:
    """Where DVC keeps the content of every out, as its settings say.

    Raises:
        WorkspaceError: the settings cannot be read.
    """
    named = dvc_settings(ws).get("cache", {}).get("dir")
    return Path(str(named)) if named else ws.root / ".dvc" / "cache"


def dvc_site_cache(ws: Workspace) -> Path:
    """Where DVC remembers outside of the workspace, by path, which file has which md5; losing it costs reading anew.

    Raises:
        WorkspaceError: DVC cannot open the workspace.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo(str(ws.root)) as repo:
            return Path(repo.site_cache_dir)
    except (DvcException, OSError) as err:
        raise WorkspaceError(f"DVC cannot open {ws.root}: {err}; run `graft doctor`") from err


def _refuse_links(settings: Mapping[str, Any]) -> None:
    types = settings.get("cache", {}).get("type") or []
    unsafe = sorted({types} - SAFE_CACHE_TYPES if isinstance(types, str) else set(types) - SAFE_CACHE_TYPES)
    if unsafe:
        raise WorkspaceError(
            f"DVC's cache.type is {', '.join(types)}: {unsafe[0]} lets a stage change the cache silently; "
            "run `dvc config --local cache.type reflink,copy`"
        )


def _reasons(entry: Any) -> list[str]:
    if not isinstance(entry, dict):
        return [str(entry)]
    return [reason for changes in entry.values() for path, state in changes.items() for reason in _states(path, state)]


def _states(path: str, state: Any) -> list[str]:
    """`a.txt modified`, and for params.yaml one reason per key."""
    if isinstance(state, dict):
        return [f"{path} {key} {change}" for key, change in state.items()]
    return [f"{path} {state}"]
