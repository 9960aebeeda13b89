"""Stands between Graft and the command that it runs, and outlives it only to clean up.

    python -I -S flows/supervisor.py GRACE_SECONDS COMMAND [ARGUMENT ...]

Its stdin is a pipe that nobody writes to. When the pipe closes, its parent is gone or TERM arrives, every process below
it is ended: TERM, then KILL after the grace. The exit code is the command's; 128 + n if signal n ended it.
Standard library only and started without site-packages, so that it costs a few hundredths of a second.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress

POLL_SECONDS = 1.0
KILL_SECONDS = 10.0
PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent dies (Linux), so that none can slip away."""
    with suppress(ImportError, OSError, AttributeError):
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def wake_on_signals() -> int:
    """A descriptor that becomes readable, holding the signal's number, when a signal arrives."""
    wake, write_end = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(write_end, False)
    signal.set_wakeup_fd(write_end)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        # A handler and not SIG_IGN: an ignored signal would stay ignored in the command.
        signal.signal(number, lambda *_: None)
    return wake


def has_exited(pid: int) -> bool:
    """True once `pid` has ended; it is not reaped, so its number and its group's stay taken."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def wait_for_end(pid: int, parent: int, wake: int) -> None:
    """Return when the command has ended, or the wrapper, or when this process is asked to stop."""
    while not has_exited(pid) and os.getppid() == parent:
        ready, _, _ = select.select([sys.stdin, wake], [], [], POLL_SECONDS)
        if sys.stdin in ready:
            return
        if wake in ready and set(os.read(wake, 512)) - {signal.SIGCHLD}:
            return


def children() -> list[int]:
    """Pids of this process's children, adopted ones included; empty where there is no /proc."""
    pids = []
    for entry in os.listdir("/proc") if os.path.isdir("/proc") else []:  # noqa: PTH112, PTH208
        with suppress(OSError, ValueError), open(f"/proc/{int(entry)}/stat", "rb") as stat:  # noqa: PTH123
            if int(stat.read().rpartition(b")")[2].split()[1]) == os.getpid():
                pids.append(int(entry))
    return pids


def reap(command: int) -> list[int]:
    """Bury dead children; returns those that still live. The command keeps its number until the very end."""
    living = []
    for pid in children():
        with suppress(ChildProcessError):
            ended = has_exited(pid) if pid == command else os.waitpid(pid, os.WNOHANG)[0] == pid
            living += [] if ended else [pid]
    return living


def signal_all(number: int, command: int, strays: set[int]) -> None:
    """Signal the command's group and single processes that left it."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(command, number)
    for pid in strays:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def strays_among(pids: list[int], command: int) -> set[int]:
    """Those of `pids` that moved to a process group of their own."""
    found = set()
    for pid in pids:
        with suppress(ProcessLookupError):
            if os.getpgid(pid) != command:
                found.add(pid)
    return found


def end_all(command: int, grace_seconds: float) -> None:
    """End the command's group and every other descendant; quick if nothing lives any more."""
    for number, seconds in ((signal.SIGTERM, grace_seconds), (signal.SIGKILL, KILL_SECONDS)):
        strays: set[int] | None = None
        deadline = time.monotonic() + seconds
        while (living := reap(command)) and time.monotonic() < deadline:
            fresh = strays_among(living, command) - (strays or set())
            if strays is None or fresh:
                signal_all(number, command, fresh)
            strays = (strays or set()) | fresh
            time.sleep(0.02)
    signal_all(signal.SIGKILL, command, set())


def main(arguments: list[str]) -> int:
    grace_seconds, command = float(arguments[0]), arguments[1:]
    parent = os.getppid()
    adopt_orphans()
    wake = wake_on_signals()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, process_group=0)
    wait_for_end(process.pid, parent, wake)
    end_all(process.pid, grace_seconds)
    code = process.wait()
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
