"""A long mixed load with reloads, a shadow and captures holds no more at its end; GRAFT_SOAK_MINUTES sets how long."""

from __future__ import annotations

import json
import os
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count, cycle
from pathlib import Path

import numpy as np
import pytest
from hostile_client import Outcomes, send_all
from hostile_requests import Hostile, hostile, sound_requests
from release_scene import add_release, make_store, point
from running_server import PATIENCE, RunningServer, errors_in, running_server
from small_release import CROP

MODEL = "made-up"
GROWTH_MB = 8.0
"""What the line through resident memory may rise over the second half, whatever its length: the allocator's noise of a
reload. A leak of a kilobyte a request is hundreds of megabytes at 20 minutes."""

GROWTH_FILES = 2.0
"""The same of descriptors and of threads; a connection that comes and goes is one."""

SAMPLES = 240


@dataclass
class Course:
    """What a process held over time: seconds, megabytes, descriptors and threads."""

    seconds: list[float] = field(default_factory=list)
    resident_mb: list[float] = field(default_factory=list)
    files: list[float] = field(default_factory=list)
    threads: list[float] = field(default_factory=list)

    def sample(self, server: RunningServer) -> None:
        self.seconds.append(time.monotonic())
        self.resident_mb.append(server.resident_mb())
        self.files.append(server.open_files())
        self.threads.append(server.threads())

    def rise(self, values: list[float]) -> float:
        """How much the least-squares line through the second half rises from its begin to its end."""
        half = len(values) // 2
        slope, _ = np.polyfit(self.seconds[half:], values[half:], 1)
        return float(slope) * (self.seconds[-1] - self.seconds[half])


def version_served(server: RunningServer) -> str:
    with urllib.request.urlopen(f"http://{server.address}/v2/models/{MODEL}", timeout=PATIENCE) as reply:
        return str(json.load(reply)["versions"][0])


class Soak:
    """Load from a thread, and reloads and samples from the test's own."""

    def __init__(self, server: RunningServer, store: Path, digests: list[str], seconds: float) -> None:
        self.server, self.store, self.digests = server, store, digests
        self.until = time.monotonic() + seconds
        self.pause = max(0.2, seconds / SAMPLES)
        self.course = Course()
        self.outcomes = Outcomes()
        self.reloads = 0

    def requests(self) -> Iterator[Hostile]:
        """Two sound requests for a spoilt one, until the time is over."""
        sound = cycle(sound_requests(MODEL, CROP))
        for number in count():
            if time.monotonic() > self.until:
                return
            yield hostile(number, MODEL, CROP) if number % 3 == 0 else next(sound)

    def load(self) -> None:
        self.outcomes = send_all(self.server.host, self.server.port, self.requests(), connections=6)

    def run(self) -> None:
        loading = threading.Thread(target=self.load, daemon=True)
        loading.start()
        while time.monotonic() < self.until:
            self.course.sample(self.server)
            self.reload()
            time.sleep(self.pause)
        loading.join(2 * PATIENCE)
        assert not loading.is_alive(), "requests hang"

    def reload(self) -> None:
        version = self.reloads + 2
        point(self.store, self.digests[version % len(self.digests)], version)
        if version % 5 == 0:
            point(self.store, self.digests[version // 5 % len(self.digests)], version, pointer="shadow")
        patience = time.monotonic() + PATIENCE
        while version_served(self.server) != str(version):
            assert time.monotonic() < patience, f"version {version} is not served"
            time.sleep(0.1)
        self.reloads += 1


def prove(tmp_path: Path, minutes: float) -> None:
    store = make_store(tmp_path / "store")
    digests = [add_release(store, seed) for seed in (1, 2, 3)]
    limits = ["body_mb=1", "max_pixels=1000000", "header_seconds=2", "body_seconds=2"]
    serve = [
        *(f"limits.{one}" for one in limits),
        "watch_seconds=0.2",
        "capture.share=0.2",
        "capture.content=embeddings",
    ]
    options = [argument for one in serve for argument in ("--set", f"serve.{one}")]
    with running_server("--store", str(store), *options, folder=tmp_path) as server:
        idle_files = server.open_files()
        soak = Soak(server, store, digests, minutes * 60)
        soak.run()
        course = soak.course
        rises = {name: course.rise(getattr(course, name)) for name in ("resident_mb", "files", "threads")}
        print(f"{minutes:g} minutes: {sum(soak.outcomes.statuses.values())} requests, {soak.reloads} reloads, "
              f"{course.resident_mb[len(course.resident_mb) // 2]:.1f} MB; second half {rises}")  # fmt: skip
        assert soak.outcomes.faults == []
        assert soak.outcomes.statuses[200] > soak.outcomes.statuses.total() / 2
        assert errors_in(server.log_text()) == []
        assert soak.reloads >= 5
        assert list((tmp_path / "captures").rglob("*.parquet*")), "nothing was captured"
        assert rises["resident_mb"] < GROWTH_MB
        assert rises["files"] < GROWTH_FILES
        assert rises["threads"] < GROWTH_FILES
        assert await_files(server, idle_files + 2)


def await_files(server: RunningServer, most: int) -> bool:
    """Whether the connections of the load are given back."""
    until = time.monotonic() + PATIENCE
    while server.open_files() > most and time.monotonic() < until:
        time.sleep(0.1)
    return server.open_files() <= most


@pytest.mark.slow
@pytest.mark.timeout(12 * 3600)
def test_memory_descriptors_and_threads_are_flat_over_a_long_mixed_load(tmp_path: Path) -> None:
    prove(tmp_path, float(os.environ.get("GRAFT_SOAK_MINUTES", "20")))


def test_a_leak_is_seen_and_a_sawtooth_is_not() -> None:
    seconds = [float(second) for second in range(240)]
    chance = np.random.default_rng(2)
    flat = [110.0 + float(chance.normal()) + second % 10 / 2 for second in seconds]
    leaking = [value + second / 10 for value, second in zip(flat, seconds, strict=True)]
    early = [value - (40.0 if second < 100 else 0.0) for value, second in zip(flat, seconds, strict=True)]
    course = Course(seconds)
    assert abs(course.rise(flat)) < GROWTH_MB / 4
    assert course.rise(leaking) > GROWTH_MB
    assert abs(course.rise(early)) < GROWTH_MB / 4
