"""What memory is there and what a process tree uses."""

from __future__ import annotations

import mmap
import subprocess
import sys
from pathlib import Path

import pytest

from flows import memory
from flows.memory import MemoryWatch, available_bytes, cgroup_rests, tree_bytes, tree_pids

MB = 10**6
needs_proc = pytest.mark.skipif(not memory.CHILDREN_ARE_LISTED, reason="figures of /proc")


def holding(code: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, "-c", f"{code}\nprint('up', flush=True)\ninput()"], stdin=-1, stdout=-1)
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    return process


@needs_proc
def test_memory_of_a_child_counts() -> None:
    nested = f"import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', {CHILD!r}], stdout=-1);"
    with holding(nested + "child.stdout.readline()") as process:
        assert len(tree_pids(process.pid)) == 2
        assert 200 * MB < tree_bytes(process.pid) < 280 * MB
        for pid in reversed(tree_pids(process.pid)):
            subprocess.run(["kill", str(pid)], check=True)


CHILD = "import time; held = bytearray(b'x') * 200_000_000; print(flush=True); time.sleep(600)"


@needs_proc
def test_pages_of_a_mapped_file_do_not_count(tmp_path: Path) -> None:
    file = tmp_path / "large"
    file.write_bytes(b"x" * 200 * MB)
    with holding(
        f"import mmap; file = open({str(file)!r}, 'rb'); held = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ); "
        f"sum(held[place] for place in range(0, len(held), {mmap.PAGESIZE}))"
    ) as process:
        assert tree_bytes(process.pid) < 60 * MB
        process.kill()


@needs_proc
def test_pages_that_forked_processes_share_count_once_in_the_exact_figure() -> None:
    with holding(
        "import os; held = bytearray(b'x') * 200_000_000; os.fork() or __import__('time').sleep(9)"
    ) as process:
        assert tree_bytes(process.pid) > 400 * MB
        assert 200 * MB < tree_bytes(process.pid, exact=True) < 300 * MB
        for pid in reversed(tree_pids(process.pid)):
            subprocess.run(["kill", str(pid)], check=True)


def test_a_process_that_is_gone_uses_nothing() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert tree_bytes(process.pid) == 0


def test_one_sample_over_the_limit_is_an_instant_two_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = iter([200, 200, 50, 200, 200, 200, 200])  # over the limit the exact figure is asked for too
    monkeypatch.setattr(memory, "tree_bytes", lambda pid, exact=False: next(sizes))
    watch = MemoryWatch(limit_bytes=100, sample_seconds=0.0)
    assert [watch.is_over(1) for _ in range(4)] == [False, False, False, True]
    assert watch.peak_bytes == 200


def test_what_only_the_quick_figure_says_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "tree_bytes", lambda pid, exact=False: 90 if exact else 200)
    watch = MemoryWatch(limit_bytes=100, sample_seconds=0.0)
    assert [watch.is_over(1) for _ in range(3)] == [False] * 3


def test_between_two_samples_nothing_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    monkeypatch.setattr(memory, "tree_bytes", lambda pid, exact=False: calls.append(pid) or 1)
    watch = MemoryWatch(sample_seconds=3600.0)
    assert not any(watch.is_over(7) for _ in range(100))
    assert calls == [7]


def control_group(root: Path, path: str, limit: str, used: int, files: int) -> Path:
    folder = root / path
    folder.mkdir(parents=True)
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 5\ninactive_file {files}\nactive_file 0\n")
    return folder


def test_a_control_group_leaves_its_limit_without_what_is_used_and_cannot_be_dropped(tmp_path: Path) -> None:
    control_group(tmp_path, "team/job", "1000", used=700, files=300)
    own = tmp_path / "own"
    own.write_text("0::/team/job\n")
    assert cgroup_rests(tmp_path, own) == [600]


def test_the_groups_around_it_limit_a_group_too(tmp_path: Path) -> None:
    control_group(tmp_path, "team/job", "max", used=700, files=0)
    (tmp_path / "team" / "memory.max").write_text("1000\n")
    (tmp_path / "team" / "memory.current").write_text("900\n")
    (tmp_path / "team" / "memory.stat").write_text("")
    own = tmp_path / "own"
    own.write_text("0::/team/job\n")
    assert cgroup_rests(tmp_path, own) == [100]


def test_a_control_group_of_version_one_without_a_limit_is_none(tmp_path: Path) -> None:
    folder = tmp_path / "memory" / "job"
    folder.mkdir(parents=True)
    (folder / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    own = tmp_path / "own"
    own.write_text("4:cpu,cpuacct:/job\n3:memory:/job\n")
    assert cgroup_rests(tmp_path, own) == []
    (folder / "memory.limit_in_bytes").write_text("5000\n")
    (folder / "memory.usage_in_bytes").write_text("4000\n")
    (folder / "memory.stat").write_text("total_inactive_file 10\ntotal_active_file 20\n")
    assert cgroup_rests(tmp_path, own) == [1030]


def test_some_memory_is_available() -> None:
    assert available_bytes() > 0
