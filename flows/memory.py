"""How much memory there is, and how much a command and all that it started use.

What counts is memory that the kernel cannot simply drop: anonymous pages, shared memory and what was swapped out. Pages
of files (libraries, memory-mapped arrays) are left out, because the kernel takes them back when it needs them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import psutil

SAMPLE_SECONDS = 0.25
CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUP = Path("/proc/self/cgroup")
CHILDREN_ARE_LISTED = Path(f"/proc/self/task/{os.getpid()}/children").exists()
QUICK, EXACT = ("RssAnon", "RssShmem", "VmSwap"), ("Pss_Anon", "Pss_Shmem", "SwapPss")
NO_LIMIT = 1 << 60
"""Version 1 of control groups says no limit as a number above this."""


def available_bytes() -> int:
    """Memory that can still be had without swapping: of the machine, or of the control group where that is less."""
    machine = int(psutil.virtual_memory().available)
    return min([machine, *cgroup_rests()])


def cgroup_rests(root: Path = CGROUPS, own: Path = OWN_CGROUP) -> list[int]:
    """What is left in each limited control group around this process; empty where there is none."""
    with suppress(OSError, ValueError):
        return [rest for folder in _cgroups(root, own.read_text()) if (rest := _rest(folder)) is not None]
    return []


def _cgroups(root: Path, text: str) -> Iterable[Path]:
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        base = root / "memory" if controllers else root
        place = base / path.strip("/")
        # Inside a container the path may be the host's, of which only the container's own part is mounted.
        yield from (folder for folder in (place, *place.parents) if folder.is_relative_to(base) and folder.is_dir())


def _rest(folder: Path) -> int | None:
    for limit_name, usage_name, reclaimable in (
        ("memory.max", "memory.current", ("inactive_file", "active_file")),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", ("total_inactive_file", "total_active_file")),
    ):
        with suppress(OSError, ValueError):
            limit = int((folder / limit_name).read_text())
            if limit >= NO_LIMIT:
                return None
            stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            files = sum(int(stat.get(name, 0)) for name in reclaimable)
            return max(0, limit - max(0, int((folder / usage_name).read_text()) - files))
    return None


class MemoryWatch:
    """Samples the memory of a process and all below it; says when a limit is passed for more than an instant."""

    def __init__(self, limit_bytes: float | None = None, sample_seconds: float = SAMPLE_SECONDS) -> None:
        self.limit_bytes, self.sample_seconds = limit_bytes, sample_seconds
        self.peak_bytes = 0
        self.used_bytes = 0
        self._next = 0.0
        self._was_over = False

    def is_over(self, pid: int) -> bool:
        """True once two samples in a row are over the limit; samples at most every `sample_seconds`."""
        if time.monotonic() < self._next:
            return False
        self.used_bytes = tree_bytes(pid)
        if self.limit_bytes is not None and self.used_bytes > self.limit_bytes:
            # The quick figure counts a page once per process; before anything is ended, once in all.
            self.used_bytes = tree_bytes(pid, exact=True)
        self.peak_bytes = max(self.peak_bytes, self.used_bytes)
        over = self.limit_bytes is not None and self.used_bytes > self.limit_bytes
        sure, self._was_over = over and self._was_over, over
        self._next = time.monotonic() + self.sample_seconds
        return sure


def tree_bytes(pid: int, exact: bool = False) -> int:
    """Bytes that a process and all below it use.

    Args:
        exact: pages that processes share count once in all and not once for each (slower: about a millisecond per GB).
    """
    return sum(_process_bytes(member, exact) for member in tree_pids(pid))


def tree_pids(pid: int) -> list[int]:
    """A process and all below it, as far as they still live."""
    found, waiting = [], [pid]
    while waiting:
        member = waiting.pop()
        found.append(member)
        waiting += _children(member)
    return found


def _children(pid: int) -> list[int]:
    """Read from the process itself where the kernel offers that: a search through all processes costs far more."""
    if not CHILDREN_ARE_LISTED:
        with suppress(psutil.Error):
            return [child.pid for child in psutil.Process(pid).children()]
        return []
    found: list[int] = []
    with suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):
                found += [int(child) for child in (thread / "children").read_text().split()]
    return found


def _process_bytes(pid: int, exact: bool) -> int:
    file, names = ("smaps_rollup", EXACT) if exact else ("status", QUICK)
    try:
        text = Path(f"/proc/{pid}/{file}").read_text(encoding="ascii", errors="replace")
    except (ProcessLookupError, FileNotFoundError):
        return 0 if Path("/proc/self/status").exists() else _resident(pid)
    except OSError:
        return _process_bytes(pid, exact=False) if exact else _resident(pid)
    fields = (line.partition(":") for line in text.splitlines())
    sizes = [int(rest.split()[0]) for name, _, rest in fields if name in names]
    if exact and not sizes:  # a kernel that tells only sums
        return _process_bytes(pid, exact=False)
    return 1024 * sum(sizes)


def _resident(pid: int) -> int:
    """Where there is no /proc: the resident size, file pages included."""
    with suppress(psutil.Error):
        return int(psutil.Process(pid).memory_info().rss)
    return 0
