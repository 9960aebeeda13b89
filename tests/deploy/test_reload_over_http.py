"""A server process whose release is changed while clients ask: no failed request, bad releases refused, flat memory."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reload_scene import PHOTOS, ReloadScene
from running_server import PATIENCE, RunningServer, running_server

CLIENTS = 4
GROWTH_MB = 12.0
"""What two thirds of the reloads may add; sessions that are not let go would add 0.6 MB each."""


class Clients:
    """Threads that ask /predict on kept connections until they are stopped; each answer is held against its version."""

    def __init__(self, scene: ReloadScene, server: RunningServer) -> None:
        self._scene, self._server = scene, server
        self.seen: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(place,)) for place in range(CLIENTS)]

    @contextmanager
    def asking(self) -> Iterator[None]:
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._stopped.set()
            for thread in self._threads:
                thread.join(PATIENCE)

    def await_version(self, version: int) -> None:
        """Until an answer has named it."""
        until = time.monotonic() + PATIENCE
        while not self.seen[str(version)] and not self.wrong:
            assert time.monotonic() < until, f"version {version} never answered"
            time.sleep(0.002)

    def _ask(self, place: int) -> None:
        connection = http.client.HTTPConnection(self._server.host, self._server.port, timeout=PATIENCE)
        try:
            while not self._stopped.is_set():
                place = (place + 1) % len(PHOTOS)
                connection.request("POST", "/predict?top_k=1000", PHOTOS[place])
                reply = connection.getresponse()
                self._judge(place, reply.status, json.loads(reply.read()))
        except Exception as err:
            self.wrong.append(repr(err))
        finally:
            connection.close()

    def _judge(self, place: int, status: int, found: Any) -> None:
        if status != 200:
            self.wrong.append(f"{status}: {found}")
            return
        version = found["version"]
        self.seen[version] += 1
        if found["digest"] != self._scene.expected.get(version):
            self.wrong.append(f"version {version} never was to be served")
            return
        answered = {one["label"]: one["probability"] for one in found["predictions"]}
        labels = self._scene.labels[found["digest"]]
        if set(answered) != set(labels) or not self._scene.is_right(
            version, place, np.array([answered[label] for label in labels], np.float32)
        ):
            self.wrong.append(f"photo {place} is not answered as version {version} does")


def refusals(server: RunningServer) -> int:
    return sum("is refused, v" in line for line in server.log_text().splitlines())


@pytest.mark.parametrize(("sound", "bad"), [(6, 7), pytest.param(100, 20, marks=pytest.mark.slow)], ids=["few", "many"])
def test_promotions_reach_a_running_server_and_bad_releases_do_not(
    store: Path, tmp_path: Path, sound: int, bad: int
) -> None:
    scene = ReloadScene(store)
    knobs = [f"--set=serve.{knob}" for knob in ("watch_seconds=0.05", "queue=64", "log_format=json")]
    with running_server("--store", str(store), *knobs, folder=tmp_path) as server:
        clients, refused, resident = Clients(scene, server), 0, 0.0
        with clients.asking():
            clients.await_version(1)
            for place, promotion in enumerate(scene.promotions(sound, bad)):
                if promotion.sound:
                    clients.await_version(promotion.version)
                else:
                    refused += 1
                    await_refusal(server, refused)
                if place == (sound + bad) // 3:
                    resident = server.resident_mb()
            assert server.resident_mb() - resident < GROWTH_MB
        assert clients.wrong == []
        assert set(clients.seen) == set(scene.expected)
        assert refusals(server) == bad
        assert server.alive()


def await_refusal(server: RunningServer, count: int) -> None:
    until = time.monotonic() + PATIENCE
    while refusals(server) < count:
        assert time.monotonic() < until, f"{count} refusals never came: {server.log_text()[-2000:]}"
        time.sleep(0.01)
