"""Goodput beyond the load that a server can answer, its start after kill -9, and slow clients beside normal ones.

    python -m benchmarks.serve_overload RELEASE PACK [--rounds 5] [--seconds 10]

One worker on one core, the load on another. The peak is what a closed loop gets answered; then requests come at random
times at one, two and ten times that rate, whatever comes back (an open loop), each counted from when it was due.
"""

from __future__ import annotations

import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.load_generator import Load, quantile
from benchmarks.rounds import (
    command_line,
    conditions,
    interleaved,
    keep_section,
    load_now,
    markdown_table,
    median_of,
    median_ratio,
    spread,
)
from benchmarks.serve_scene import load, make_photos, serving, start
from benchmarks.slow_clients import SlowClients

FACTORS = (1, 2, 10)
GOAL = 0.9
SLOW_CLIENTS = 150
SLOW_SECONDS = 3.0
"""The deadlines of headers and bodies while the slow clients are there."""


@dataclass(frozen=True)
class Setting:
    """What every measurement here shares."""

    release: Path
    photos: Path
    seconds: float
    connections: int
    serving_core: int
    load_core: int


def overload(setting: Setting, rounds: int) -> dict[str, list[Load]]:
    """The closed loop and every factor of its rate, interleaved."""
    peaks: list[float] = []
    with serving(setting.release, {setting.serving_core}, "--workers", 1) as server:

        def closed() -> Load:
            found = load(
                server, setting.photos, setting.seconds, setting.load_core, "--connections", setting.connections
            )
            peaks.append(found.goodput)
            return found

        def opened(factor: int) -> Load:
            return load(server, setting.photos, setting.seconds, setting.load_core, "--rate", factor * peaks[-1])

        cases = {"peak (closed loop)": closed}
        cases |= {f"{factor} x the peak": (lambda factor=factor: opened(factor)) for factor in FACTORS}
        return interleaved(cases, rounds)


def restarts(setting: Setting, rounds: int) -> list[float]:
    """Seconds from the start after kill -9 until the server is ready on the same port."""
    seconds = []
    server = start(setting.release, {setting.serving_core, setting.load_core})
    for _ in range(rounds):
        server.kill()
        server = start(setting.release, {setting.serving_core, setting.load_core}, port=server.port)
        seconds.append(server.start_seconds)
    server.process.terminate()
    server.process.wait()
    return seconds


def beside_slow_clients(setting: Setting, rounds: int) -> tuple[dict[str, list[Load]], list[float]]:
    """Normal load with and without slow clients, and how long each of those was let be."""
    lived: list[float] = []
    options = [f"serve.limits.{part}_seconds={SLOW_SECONDS}" for part in ("header", "body")]
    with serving(
        setting.release, {setting.serving_core}, "--workers", 1, "--set", options[0], "--set", options[1]
    ) as server:

        def normal() -> Load:
            return load(
                server, setting.photos, setting.seconds, setting.load_core, "--connections", setting.connections
            )

        def beside() -> Load:
            with SlowClients(server.port, SLOW_CLIENTS) as slow:
                found = normal()
            lived.extend(slow.lived)
            if len(slow.lived) < SLOW_CLIENTS:
                raise RuntimeError(f"{SLOW_CLIENTS - len(slow.lived)} slow clients were let be")
            return found

        return interleaved({"alone": normal, f"beside {SLOW_CLIENTS} slow clients": beside}, rounds), lived


def rows_of(found: dict[str, list[Load]], base: str) -> list[list[str]]:
    """A row a case: goodput, its ratio, latencies of what was accepted and of what was refused, and counts."""
    goodput = {name: [one.goodput for one in loads] for name, loads in found.items()}
    return [
        [
            name,
            spread(goodput[name]),
            f"{median_ratio(goodput[name], goodput[base]):.3f}",
            *(f"{median_of(quantile(one.accepted_ms, share) for one in loads):.0f}" for share in (0.5, 0.99)),
            f"{median_of(quantile(one.refused_ms, 0.99) for one in loads):.0f}" if loads[0].refused_ms else "",
            f"{sum(one.statuses.get(503, 0) for one in loads)}",
            f"{sum(count for one in loads for status, count in one.statuses.items() if status not in (200, 503))}",
        ]
        for name, loads in found.items()
    ]


HEADER = [
    "",
    "answers a second, median (range)",
    "against the first",
    "accepted p50 ms",
    "p99 ms",
    "refused p99 ms",
    "refused",
    "anything else",
]


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("release", type=Path, help="a release folder")
    parser.add_argument("pack", type=Path, help="a folder of photos")
    parser.add_argument("--seconds", type=float, default=10.0, help="of one measurement (default: %(default)s)")
    parser.add_argument("--connections", type=int, default=6, help="of the closed loop (default: %(default)s)")
    arguments = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))[:2]
    if len(cores) < 2:
        sys.exit("the server and its load need a core each")
    if arguments.seconds < 2 * SLOW_SECONDS:
        sys.exit(f"--seconds must be {2 * SLOW_SECONDS:g} at least: the slow clients are waited for")
    told = conditions(arguments.rounds, load_now())
    with tempfile.TemporaryDirectory() as folder:
        photos = make_photos(arguments.pack, Path(folder) / "photos")
        setting = Setting(arguments.release.resolve(), photos, arguments.seconds, arguments.connections, *cores)
        seconds = restarts(setting, arguments.rounds)
        os.sched_setaffinity(0, {setting.load_core})
        found = overload(setting, arguments.rounds)
        slow, lived = beside_slow_clients(setting, arguments.rounds)
    peak = "peak (closed loop)"
    ratio = median_ratio([one.goodput for one in found["10 x the peak"]], [one.goodput for one in found[peak]])
    text = (
        f"{told} {arguments.pack.name}, JPEG 1024x768; one worker on one core.\n\n"
        + markdown_table(HEADER, rows_of(found, peak))
        + f"\n\nGoodput at ten times the peak load: **{ratio:.3f}** of the peak (wanted: {GOAL}).\n\n"
        + markdown_table(HEADER, rows_of(slow, "alone"))
        + f"\n\nThe slow clients were closed after {spread(lived)} s; deadlines {SLOW_SECONDS:g} s.\n\n"
        + f"Ready again after kill -9, two workers: {median_of(seconds):.2f} s ({min(seconds):.2f} to "
        + f"{max(seconds):.2f}; wanted: 3)."
    )
    keep_section("serve overload", text, arguments.results)
    print(text)


if __name__ == "__main__":
    main()
