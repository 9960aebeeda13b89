"""The server's protocol over a small application, on a real socket: its loop runs in a thread of the test's process."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import uvloop
from uvicorn.config import Config

from deploy.acceptor import Acceptor
from deploy.admission import Admission
from deploy.auth import TokenGuard
from deploy.connections import Connections
from deploy.listening import listen
from deploy.load_board import Place
from deploy.metrics import Metrics
from deploy.protocol import GuardedProtocol
from deploy.settings import Settings
from tasks.params import ServeLimits, ServeParams

PATIENCE = 20.0
"""Seconds until a test gives up on what must come; no test asserts how fast it came."""


@dataclass
class SmallApp:
    """Answers with `METHOD PATH SIZE`; /predict waits while `closed`, /fail raises, /big sends 50 MB."""

    closed: bool = False
    seen: list[str] = field(default_factory=list)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        message = await receive()
        self.seen.append(f"{scope['method']} {scope['path']}")
        while self.closed and scope["path"] == "/predict":
            await asyncio.sleep(0.005)
        if scope["path"] == "/predict/fail" or b"fail" in scope["query_string"]:
            raise ValueError("the application failed")
        text = f"{scope['method']} {scope['path']} {len(message.get('body', b''))}".encode()
        content = b"x" * 50_000_000 if scope["path"] == "/big" else text
        headers = [(b"content-length", str(len(content)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})


class Client:
    """A raw socket with a buffer; every read has a limit of time."""

    def __init__(self, address: tuple[str, int], receive_buffer: int | None = None) -> None:
        self.sock = socket.socket()
        if receive_buffer is not None:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(address)
        self._buffer = bytearray()

    def send(self, data: bytes | str) -> None:
        self.sock.sendall(data.encode() if isinstance(data, str) else data)

    def post(self, body: bytes = b"", path: str = "/predict", headers: str = "") -> None:
        self.send(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body)

    def reply(self) -> Reply:
        """The next reply, by its Content-Length."""
        head = self._until(b"\r\n\r\n")
        first, *lines = head.decode().strip().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        size = int(headers.get("content-length", "0"))
        while len(self._buffer) < size:
            self._more()
        body = bytes(self._buffer[:size])
        del self._buffer[:size]
        return Reply(int(first.split()[1]), headers, body)

    def ended(self) -> bytes:
        """What still comes until the server ends the connection in good order."""
        while part := self.sock.recv(65536):
            self._buffer += part
        left, self._buffer = bytes(self._buffer), bytearray()
        return left

    def close(self) -> None:
        self.sock.close()

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._buffer:
            self._more()
        head, _, self._buffer = self._buffer.partition(mark)
        return bytes(head)

    def _more(self) -> None:
        part = self.sock.recv(65536)
        if not part:
            raise EOFError(f"the server ended the connection after {bytes(self._buffer)!r}")
        self._buffer += part


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes


@dataclass
class ProtocolScene:
    """A server and what it shares; `do` runs something in its loop and gives the result."""

    address: tuple[str, int]
    connections: Connections
    app: SmallApp
    loop: asyncio.AbstractEventLoop

    def client(self, receive_buffer: int | None = None) -> Client:
        return Client(self.address, receive_buffer)

    def do(self, action: Callable[[], Any]) -> Any:
        async def run() -> Any:
            return action()

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(PATIENCE)

    def rejected(self, reason: str) -> float:
        self.do(self.connections.tick)
        value = self.connections.metrics.registry.get_sample_value("graft_rejected_total", {"reason": reason})
        return value or 0.0


def wait_until(condition: Callable[[], object]) -> None:
    """Give the other side time; fails when it never comes."""
    give_up = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < give_up, "what was waited for never came"
        time.sleep(0.005)


@contextmanager
def protocol_scene(
    token: str | None = None, slots: int = 2, app: SmallApp | None = None, **limits: Any
) -> Iterator[ProtocolScene]:
    """Serve a small application under these limits."""
    serve = ServeParams(queue=slots, limits=ServeLimits(**limits))
    settings = Settings(serve, Path("store"))
    worker: Any = SimpleNamespace(settings=settings, metrics=Metrics(), admission=Admission(slots))
    connections = Connections(worker, TokenGuard(token=token), frozenset({"/open"}))
    app = app or SmallApp()
    sock, loop = listen("127.0.0.1", 0), uvloop.new_event_loop()
    address = sock.getsockname()
    config = Config(app, ws="none", lifespan="off", interface="asgi3", log_config=None, date_header=False)
    config.load()
    ends = asyncio.Event()
    started = threading.Event()

    async def run() -> None:
        acceptor = Acceptor(sock, connections, partial(GuardedProtocol, config, connections, {}), Place())
        acceptor.start()
        sweep = asyncio.create_task(connections.keep_time())
        started.set()
        await ends.wait()
        sweep.cancel()
        acceptor.stop()
        for connection in list(connections.connections):
            connection.transport.abort()
        await asyncio.sleep(0.02)

    thread = threading.Thread(target=lambda: loop.run_until_complete(run()), daemon=True)
    thread.start()
    assert started.wait(PATIENCE)
    try:
        yield ProtocolScene(address, connections, app, loop)
    finally:
        app.closed = False
        loop.call_soon_threadsafe(ends.set)
        thread.join(PATIENCE)
        loop.close()
