"""git and DVC where they talk to other machines: no question, no waiting without end, no secret in what they say."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from flows.redaction import redacted
from flows.state import MISLEADING, NO_HOOKS
from tasks.errors import WorkspaceError

TAIL_LINES = 5
POLL_SECONDS = 0.5
_ADVICE = {
    "fatal: Could not read from remote repository.",
    "Please make sure you have the correct access rights",
    "and the repository exists.",
}
"""What git says after every failure to connect, whatever the reason."""


@dataclass(frozen=True)
class Ended:
    """How a command ended: exit code, or None where its time ran out; all that it printed, secrets taken out."""

    code: int | None
    output: str

    @property
    def ok(self) -> bool:
        return self.code == 0

    @property
    def why(self) -> str:
        """Its last lines as one, for a message."""
        if self.code is None:
            return "it did not answer in time"
        lines = [line.strip() for line in self.output.splitlines() if line.strip()]
        lines = [line for line in lines if line not in _ADVICE] or lines
        return "; ".join(lines[-TAIL_LINES:]) or f"it ended with code {self.code} and no word"


def run_bounded(
    command: Sequence[str],
    cwd: Path,
    seconds: float,
    environment: Mapping[str, str],
    secrets: Iterable[str] = (),
) -> Ended:
    """Run a command in a session of its own; after `seconds` it and all that it started are killed.

    Raises:
        WorkspaceError: it cannot be started.
    """
    try:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as err:
        raise WorkspaceError(f"{command[0]} cannot be run in {cwd} ({err.strerror}); install it") from err
    try:
        output = _waited_for(process, time.monotonic() + seconds)
        code = None if output is None else process.returncode
    finally:
        if process.returncode is None:
            _kill(process)
    if output is None:
        output, _ = process.communicate()
    return Ended(code, redacted(output.decode(errors="replace"), secrets))


def _waited_for(process: subprocess.Popen[bytes], deadline: float) -> bytes | None:
    """All that it printed; None where it did not end in time."""
    while time.monotonic() < deadline:
        # Short waits: Prefect cancels a run by raising between two bytecodes, never inside a system call.
        with suppress(subprocess.TimeoutExpired):
            return process.communicate(timeout=min(POLL_SECONDS, max(0.0, deadline - time.monotonic())))[0]
    return None


def git_remotely(root: Path, seconds: float, *arguments: str) -> Ended:
    """git against a remote: it asks nobody for a password and shows no window for one, and runs no hook of a person's.

    What GIT_ASKPASS names stays: whoever sets it for git means it, and a worker's answers by itself.
    """
    inherited = {name: value for name, value in os.environ.items() if name not in MISLEADING}
    unasking = {
        "GIT_TERMINAL_PROMPT": "0",
        # Goes before core.askPass and SSH_ASKPASS, which are windows on a desktop.
        "GIT_ASKPASS": os.environ.get("GIT_ASKPASS") or "true",
        "SSH_ASKPASS_REQUIRE": "never",
        "GCM_INTERACTIVE": "never",
        **_ssh(root),
        "LC_ALL": "C",
    }
    return run_bounded(["git", *NO_HOOKS, *arguments], root, seconds, {**inherited, **unasking})


def _ssh(root: Path) -> dict[str, str]:
    """ssh as git would find it, told to ask nobody; another program that is set in its place is left as it is."""
    if (os.environ.get("GIT_SSH_VARIANT") or _git_setting(root, "ssh.variant") or "ssh") not in ("ssh", "auto"):
        return {}
    command = os.environ.get("GIT_SSH_COMMAND") or _git_setting(root, "core.sshCommand")
    if not command and os.environ.get("GIT_SSH"):
        return {}
    return {"GIT_SSH_COMMAND": f"{command or 'ssh'} -o BatchMode=yes -o ConnectTimeout=10"}


def _git_setting(root: Path, name: str) -> str:
    with suppress(OSError):
        return subprocess.run(["git", "config", name], cwd=root, capture_output=True, text=True).stdout.strip()
    return ""


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
