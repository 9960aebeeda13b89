"""Sends hostile requests over many connections and reads what comes back, with a limit of time for each."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from hostile_requests import Hostile

PATIENCE = 60.0
CLOSED, NO_HTTP, HUNG = -1, -2, -3
_READ = (asyncio.IncompleteReadError, ConnectionError)


@dataclass
class Outcomes:
    """What came back: how often each status; what must not happen, by the request's number."""

    statuses: Counter[int] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def judge(self, one: Hostile, status: int, keep: int = 50) -> None:
        """Count a reply; 5xx other than 503, none to a sound framing, none in time and no HTTP are faults.

        To a sound request everything but 200 and 503 is one.
        """
        self.statuses[status] += 1
        bad = one.sound and status not in (200, 503)
        bad = bad or (status >= 500 and status != 503) or status in (HUNG, NO_HTTP) or (status == CLOSED and one.framed)
        if bad and len(self.faults) < keep:
            self.faults.append(f"request {one.number}: {status}")


async def _reply(reader: asyncio.StreamReader, bodiless: bool) -> tuple[int, bool]:
    """Status of the next reply, and whether the connection lives on; to HEAD there is no body."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except _READ:
        return CLOSED, False
    except asyncio.LimitOverrunError:
        return NO_HTTP, False
    line, *lines = head.rstrip("\r\n").split("\r\n")
    parts = line.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (one.partition(":") for one in lines)}
    if not line.startswith("HTTP/1.1 ") or not parts[1].isdigit() or not headers.get("content-length", "").isdigit():
        return NO_HTTP, False
    if parts[1] == "100":
        return await _reply(reader, bodiless)
    try:
        await reader.readexactly(0 if bodiless else int(headers["content-length"]))
    except _READ:
        return NO_HTTP, False
    return int(parts[1]), headers.get("connection", "").lower() != "close"


async def _send(host: str, port: int, todo: Iterator[Hostile], outcomes: Outcomes) -> None:
    streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
    for one in todo:
        if streams is None:
            streams = await asyncio.open_connection(host, port)
        reader, writer = streams
        writer.write(one.data)
        try:
            status, lives = await asyncio.wait_for(_reply(reader, one.data.startswith(b"HEAD ")), PATIENCE)
        except TimeoutError:
            status, lives = HUNG, False
        outcomes.judge(one, status)
        if not lives or not one.framed:
            writer.close()
            streams = None
    if streams is not None:
        streams[1].close()


async def _send_all(host: str, port: int, todo: Iterator[Hostile], connections: int) -> Outcomes:
    outcomes = Outcomes()
    await asyncio.gather(*(_send(host, port, todo, outcomes) for _ in range(connections)))
    return outcomes


def send_all(host: str, port: int, requests: Iterable[Hostile], connections: int = 12) -> Outcomes:
    """Send requests, each when a connection is free, and judge every reply."""
    return asyncio.run(_send_all(host, port, iter(requests), connections))
