"""Rounds of measurements: interleaved, told as medians and ratios, written into RESULTS.md between marks."""

from __future__ import annotations

import argparse
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

RESULTS = Path(__file__).with_name("RESULTS.md")
PACKAGES = ("torch", "torchvision", "onnxruntime", "pillow", "scikit-learn", "great-expectations", "dvc", "prefect")

BUSY = 0.1
"""A share of the cores in use by others that spoils wall times; the script says so in its results."""

Measured = TypeVar("Measured")


@dataclass(frozen=True)
class Finished:
    """A process that ended well: its wall seconds, the CPU seconds of it and all below it, and its stdout."""

    seconds: float
    cpu_seconds: float
    stdout: str


def command_line(description: str | None) -> argparse.ArgumentParser:
    """The options that every measurement has."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parser.add_argument(
        "--results", type=Path, default=RESULTS, help="the page that is rewritten (default: %(default)s)"
    )
    return parser


def interleaved(cases: Mapping[str, Callable[[], Measured]], rounds: int) -> dict[str, list[Measured]]:
    """Run every case once a round, in turn (A B A B), so that a slow minute of the machine meets all of them alike."""
    found: dict[str, list[Measured]] = {name: [] for name in cases}
    for number in range(1, rounds + 1):
        for name, run in cases.items():
            started = time.monotonic()
            found[name].append(run())
            print(f"round {number}/{rounds}  {name}: {time.monotonic() - started:.1f} s", file=sys.stderr, flush=True)
    return found


def timed(command: Sequence[object], cwd: Path, environment: Mapping[str, str] | None = None) -> Finished:
    """Run a command to its end; `environment` is put on top of this process's own.

    Raises:
        RuntimeError: it fails; the text holds its last lines.
    """
    before, started = os.times(), time.perf_counter()
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    seconds, after = time.perf_counter() - started, os.times()
    if done.returncode != 0:
        shown = " ".join(str(part) for part in command)
        raise RuntimeError(f"{shown} in {cwd} exited with {done.returncode}:\n{done.stderr[-2000:]}")
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return Finished(seconds, used, done.stdout)


def median_of(values: Iterable[float]) -> float:
    """The median; at least one value."""
    return float(statistics.median(values))


def median_ratio(measured: Sequence[float], base: Sequence[float]) -> float:
    """Median over the rounds of measured / base, both of one round."""
    return median_of(one / other for one, other in zip(measured, base, strict=True))


def spread(values: Sequence[float]) -> str:
    """`median (lowest to highest)`, one decimal.

    >>> spread([3.0, 1.0, 2.0])
    '2.0 (1.0 to 3.0)'
    """
    return f"{median_of(values):.1f} ({min(values):.1f} to {max(values):.1f})"


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table.

    >>> print(markdown_table(["a", "b"], [["1", "2"]]))
    | a | b |
    |---|---|
    | 1 | 2 |
    """
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(
        "|" + "|".join(cells) + "|" if number == 1 else "| " + " | ".join(cells) + " |"
        for number, cells in enumerate(lines)
    )


def machine() -> str:
    """Cores, kind of CPU and versions in one sentence; nothing that names the machine."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    system = f"{platform.system()} {platform.machine()}"
    return f"{cores} cores ({_cpu_kind()}, {system}), Python {platform.python_version()}, {versions}"


def keep_section(name: str, text: str, results: Path) -> None:
    """Put `text` between the marks of `name` in the results; a section that is not there yet is appended."""
    begin, end = f"<!-- {name}: written by its script -->", f"<!-- end of {name} -->"
    section = f"{begin}\n{text.strip()}\n{end}"
    old = results.read_text(encoding="utf-8") if results.exists() else "# Results\n"
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    found = pattern.search(old)
    new = old[: found.start()] + section + old[found.end() :] if found else f"{old.rstrip()}\n\n{section}\n"
    results.write_text(new, encoding="utf-8")


def conditions(rounds: int, load: float) -> str:
    """Rounds, the machine, and a warning if others used it (`load_now` before the first round)."""
    busy = f" **Provisional: others used {load:.0%} of the cores before the first round.**" if load >= BUSY else ""
    rounds_text = f"Medians of {rounds} rounds" if rounds > 1 else "One round"
    return f"{rounds_text} on {machine()}.{busy}"


def load_now(seconds: float = 3.0) -> float:
    """Share of all cores in use, in [0, 1], while this process sleeps; a load average would still tell of ourselves."""
    import psutil

    return float(psutil.cpu_percent(seconds)) / 100.0


def _cpu_kind() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text(encoding="utf-8") if cpuinfo.exists() else ""
    model = re.search(r"model name\s*:\s*(.+)", text)
    wide = " with AVX-512" if "avx512f" in text else " with AVX2" if "avx2" in text else ""
    return f"{model[1].strip() if model else platform.processor() or 'unknown CPU'}{wide}"
