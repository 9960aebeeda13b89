"""A server, its load and its photos, each on its own cores, for the measurements of serving."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from benchmarks.load_generator import WARM_SECONDS, Load

ROOT = Path(__file__).resolve().parents[1]
SIZE = (1024, 768)
QUALITY = 90
START_SECONDS = 60.0


def make_photos(pack: Path, folder: Path, count: int = 64) -> Path:
    """JPEGs of 1024x768 from a pack's photos: cropped to 4:3 and scaled; the first ones by name, of every folder."""
    folder.mkdir(parents=True, exist_ok=True)
    files = sorted(file for file in pack.rglob("*") if file.suffix.lower() in (".jpg", ".jpeg", ".png"))
    chosen = files[:: max(1, len(files) // count)][:count]
    for number, file in enumerate(chosen):
        with Image.open(file) as image:
            wanted = min(image.width, image.height * 4 // 3)
            left, top = (image.width - wanted) // 2, (image.height - wanted * 3 // 4) // 2
            box = (left, top, left + wanted, top + wanted * 3 // 4)
            photo = image.convert("RGB").resize(SIZE, Image.Resampling.BICUBIC, box=box)
        photo.save(folder / f"{number:03}.jpg", quality=QUALITY)
    return folder


@dataclass
class Server:
    """A running server."""

    process: subprocess.Popen[bytes]
    port: int
    start_seconds: float

    def cpu_seconds(self) -> float:
        """Of the server and its workers, so far."""
        import psutil

        parent = psutil.Process(self.process.pid)
        times = [one.cpu_times() for one in (parent, *parent.children())]
        return float(sum(one.user + one.system for one in times))

    def kill(self) -> None:
        """As an out-of-memory killer would."""
        self.process.kill()
        self.process.wait()


def start(release: Path, cores: Iterable[int], *options: object, port: int = 0) -> Server:
    """A server on these cores, one worker for each unless told otherwise, when it is ready."""
    chosen = set(cores)
    begun = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "deploy.server", "--release", str(release), "--port", str(port), *map(str, options)],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: os.sched_setaffinity(0, chosen),
    )
    assert process.stderr is not None
    line = process.stderr.readline()
    try:
        port = int(json.loads(line)["address"].rpartition(":")[2])
    except (ValueError, KeyError) as err:
        process.kill()
        raise RuntimeError(f"the server did not start: {line.decode()}{process.stderr.read().decode()}") from err
    server = Server(process, port, 0.0)
    _discard(process)
    _wait_ready(server)
    server.start_seconds = time.monotonic() - begun
    return server


@contextmanager
def serving(release: Path, cores: Iterable[int], *options: object, port: int = 0) -> Iterator[Server]:
    """A server that is ended at the end."""
    server = start(release, cores, *options, port=port)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.process.send_signal(signal.SIGTERM)
            try:
                server.process.wait(60)
            except subprocess.TimeoutExpired:
                server.process.kill()


def load(server: Server, photos: Path, seconds: float, core: int | None, *options: object) -> Load:
    """What the generator, a process of its own, gets back."""
    command: list[object] = [sys.executable, "-m", "benchmarks.load_generator", server.port, photos]
    command += ["--seconds", seconds, *(["--core", core] if core is not None else []), *options]
    done = subprocess.run([str(part) for part in command], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return Load.from_json(done.stdout)


@dataclass(frozen=True)
class Rate:
    """Images a second by the wall clock, and CPU milliseconds an image, which others on the machine disturb less."""

    images: float
    cpu_ms: float


def bare_rate(release: Path, photos: Path, seconds: float, core: int, batch: int) -> Rate:
    """The bare loop on that core."""
    command: list[object] = [sys.executable, "-m", "benchmarks.serve_bare_loop", release, photos]
    command += ["--seconds", seconds, "--core", core, "--batch", batch]
    done = subprocess.run([str(part) for part in command], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    images, cpu_ms = map(float, done.stdout.split())
    return Rate(images, cpu_ms)


def served_rate(server: Server, photos: Path, seconds: float, core: int | None, connections: int) -> Rate:
    """A closed loop against the server; every request must have been answered.

    Raises:
        RuntimeError: one was not.
    """
    before = server.cpu_seconds()
    found = load(server, photos, seconds, core, "--connections", connections)
    spent = server.cpu_seconds() - before
    if set(found.statuses) != {200}:
        raise RuntimeError(f"not every request was answered: {found.statuses}")
    everything = found.statuses[200] * (1 + WARM_SECONDS / seconds)  # the CPU seconds are those of the warm-up too
    return Rate(found.goodput, spent * 1000 / everything)


def _discard(process: subprocess.Popen[bytes]) -> None:
    """Read the log lines, so that they never fill the pipe, at the cost that a log collector has."""
    import threading

    assert process.stderr is not None
    stream = process.stderr
    threading.Thread(target=lambda: [None for _ in stream], daemon=True).start()


def _wait_ready(server: Server) -> None:
    give_up = time.monotonic() + START_SECONDS
    while time.monotonic() < give_up:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        try:
            connection.request("GET", "/v2/health/ready")
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.02)
        finally:
            connection.close()
    raise RuntimeError("the server did not become ready")
