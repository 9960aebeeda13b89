"""Requests over raw sockets, as fast as they are answered (closed loop) or at a given rate (open loop).

    python -m benchmarks.load_generator PORT IMAGES --seconds 10 (--connections 8 | --rate 500) [--core 1]

One process on one core; prints one JSON object. In an open loop a latency counts from when the request was due, so that
a slow server cannot slow its own load down, and at most --most-connections requests are open at a time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
from collections import deque
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import cast

import uvloop

WARM_SECONDS = 1.0
"""What is answered before is not counted."""


@dataclass
class Load:
    """What came back after the warm-up.

    Attributes:
        statuses: counts by HTTP status; 0: the connection broke.
        accepted_ms, refused_ms: latencies of 200 and of 503.
        unanswered: requests that were due and not answered when the time was over.
    """

    seconds: float = 0.0
    statuses: dict[int, int] = field(default_factory=dict)
    accepted_ms: list[float] = field(default_factory=list)
    refused_ms: list[float] = field(default_factory=list)
    unanswered: int = 0

    @property
    def goodput(self) -> float:
        """Answers of 200 a second."""
        return self.statuses.get(200, 0) / self.seconds

    def note(self, status: int, seconds: float) -> None:
        """One request that ended."""
        self.statuses[status] = self.statuses.get(status, 0) + 1
        if status in (200, 503):
            (self.accepted_ms if status == 200 else self.refused_ms).append(seconds * 1000)

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Load:
        fields = json.loads(text)
        fields["statuses"] = {int(status): count for status, count in fields["statuses"].items()}
        return cls(**fields)


def quantile(values: Iterable[float], share: float) -> float:
    """The value below which that share lies, by nearest rank; nan without values.

    >>> quantile([3.0, 1.0, 2.0], 0.5)
    2.0
    """
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


class Exchange(asyncio.Protocol):
    """One connection that sends a request at a time."""

    def __init__(self, generator: Generator) -> None:
        self._generator = generator
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._due: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def ask(self, request: bytes, due: float) -> None:
        """Send a request that was due at that time of the loop."""
        assert self._transport is not None
        self._due = due
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0 or self._due is None:
            return
        head = bytes(self._buffer[:end]).lower()
        place = head.find(b"content-length: ")
        size = int(head[place + 16 : head.find(b"\r\n", place) if b"\r\n" in head[place:] else None])
        if len(self._buffer) < end + 4 + size:
            return
        due, self._due = self._due, None
        self._buffer.clear()
        closing = b"connection: close" in head
        if closing and self._transport is not None:
            self._transport.close()
        self._generator.ended(None if closing else self, int(head[9:12]), due)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._due is not None:
            due, self._due = self._due, None
            self._generator.ended(None, 0, due)
        self._generator.lost(self)

    def close(self) -> None:
        if self._transport is not None:
            self._due = None
            self._transport.abort()


class Generator:
    """Sends the images in turn until the time is over."""

    def __init__(self, port: int, images: list[bytes], seconds: float, connections: int, rate: float | None) -> None:
        head = "POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\nContent-Length: "
        self._requests = [f"{head}{len(image)}\r\n\r\n".encode() + image for image in images]
        self._port, self._most, self._rate = port, connections, rate
        self._idle: list[Exchange] = []
        self._waiting: deque[float] = deque()
        self._all: set[Exchange] = set()
        self._opening = 0
        self._sent = 0
        self._over = False
        self._loop = asyncio.get_running_loop()
        self._begins = self._loop.time() + WARM_SECONDS
        self._ends = self._begins + seconds
        self._tasks: set[asyncio.Task[None]] = set()
        self.load = Load(seconds=seconds)

    async def run(self) -> Load:
        """Until the time is over; what is open then is cut off."""
        if self._rate is None:
            for _ in range(self._most):
                self.due(self._loop.time())
            await asyncio.sleep(self._ends - self._loop.time())
        else:
            await self._arrive(self._rate)
        self._over = True
        self.load.unanswered = len(self._waiting) + len(self._all) - len(self._idle)
        for exchange in list(self._all):
            exchange.close()
        await asyncio.sleep(0)
        return self.load

    async def _arrive(self, rate: float) -> None:
        """Arrivals at random times of that mean rate (a Poisson process, seeded)."""
        chance, next_due = random.Random(0), self._loop.time()
        while next_due < self._ends:
            await asyncio.sleep(max(0.0, next_due - self._loop.time()))
            self.due(next_due)
            next_due += chance.expovariate(rate)

    def due(self, at: float) -> None:
        """A request is due: on a connection that is free, or a new one, or when one becomes free."""
        if self._idle:
            self._ask(self._idle.pop(), at)
        else:
            self._waiting.append(at)
            if len(self._all) + self._opening < self._most:
                self._opening += 1
                task = self._loop.create_task(self._open())
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _open(self) -> None:
        try:
            _, exchange = await self._loop.create_connection(lambda: Exchange(self), "127.0.0.1", self._port)
        except OSError:
            exchange = None
        self._opening -= 1
        if exchange is None:
            if self._waiting:
                self.ended(None, 0, self._waiting.popleft())
            return
        self._all.add(exchange)
        self._free(exchange)

    def ended(self, exchange: Exchange | None, status: int, due: float) -> None:
        """A request was answered, or its connection broke; the connection may be used again where it is given."""
        now = self._loop.time()
        if not self._over and now >= self._begins:
            self.load.note(status, now - due)
        if exchange is not None:
            self._free(exchange)
        if self._rate is None and not self._over:
            self.due(now)

    def lost(self, exchange: Exchange) -> None:
        """A connection ended."""
        self._all.discard(exchange)
        if exchange in self._idle:
            self._idle.remove(exchange)
        if self._waiting and not self._over:
            self.due(self._waiting.popleft())

    def _free(self, exchange: Exchange) -> None:
        if self._waiting and not self._over:
            self._ask(exchange, self._waiting.popleft())
        else:
            self._idle.append(exchange)

    def _ask(self, exchange: Exchange, due: float) -> None:
        self._sent += 1
        exchange.ask(self._requests[self._sent % len(self._requests)], due)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("port", type=int)
    parser.add_argument("images", type=Path, help="a folder of files that are sent in turn")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--rate", type=float, help="requests a second, whatever comes back")
    parser.add_argument("--most-connections", type=int, default=400)
    parser.add_argument("--core", type=int, help="the core to stay on")
    arguments = parser.parse_args()
    if arguments.core is not None:
        os.sched_setaffinity(0, {arguments.core})
    images = [file.read_bytes() for file in sorted(arguments.images.iterdir())]
    connections = arguments.connections if arguments.rate is None else arguments.most_connections

    async def run() -> Load:
        return await Generator(arguments.port, images, arguments.seconds, connections, arguments.rate).run()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(runner.run(run()).to_json())


if __name__ == "__main__":
    main()
