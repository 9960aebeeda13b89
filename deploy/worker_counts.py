"""The folder in which workers keep their counts for each other, as prometheus_client's multiprocess mode writes it.

A worker writes one memory-mapped file of each kind, so that its counts outlive it. The files of dead ones are folded
into one: else workers that die again and again would fill the memory and make each scrape slower.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prometheus_client.metrics_core import Metric
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""The variable that names it; set by the workers' parent, and read by prometheus_client when it is imported."""

_DEAD = "dead"
_LOCK = "lock"


def summed_counts(folder: Path) -> tuple[list[Metric], list[int]]:
    """The sums of all workers' counts, with those of dead ones, the gauges of living ones, and the pids of these."""
    with _locked(folder):
        pids = _pids(folder)
        living = {pid for pid in pids if Path(f"/proc/{pid}").exists()}
        for pid in pids - living:
            _fold(pid, folder)
        collector = MultiProcessCollector(None, str(folder))  # type: ignore[no-untyped-call]
        return list(collector.collect()), sorted(living)  # type: ignore[no-untyped-call]


def forget_worker(pid: int, folder: Path) -> None:
    """Put away the gauges of a worker that ended, and add what it counted to what dead ones did."""
    with _locked(folder):
        _fold(pid, folder)


def _fold(pid: int, folder: Path) -> None:
    mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]
    for kind in ("counter", "histogram"):
        file = folder / f"{kind}_{pid}.db"
        if not file.exists():
            continue
        kept = MmapedDict(str(folder / f"{kind}_{_DEAD}.db"))  # type: ignore[no-untyped-call]
        for key, value, _, _ in MmapedDict.read_all_values_from_file(str(file)):  # type: ignore[no-untyped-call]
            before, _ = kept.read_value(key)  # type: ignore[no-untyped-call]
            kept.write_value(key, before + value, 0.0)  # type: ignore[no-untyped-call]
        kept.close()  # type: ignore[no-untyped-call]
        file.unlink()


def _pids(folder: Path) -> set[int]:
    names = (file.stem.rpartition("_")[2] for file in folder.glob("*.db"))
    return {int(name) for name in names if name != _DEAD}


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Nobody sums while another folds: a sum that falls is a restart to Prometheus, and the next one a leap."""
    with (folder / _LOCK).open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
