"""One serving process, from its application to its last answer."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import uvloop
from fastapi import FastAPI
from uvicorn.config import Config

from deploy.acceptor import Acceptor
from deploy.app import make_app
from deploy.connections import Connections
from deploy.listening import refuse_new_connections
from deploy.load_board import Place
from deploy.model import Model
from deploy.protocol import GuardedProtocol
from deploy.settings import Settings
from tasks.errors import counted

LAST_CALL_SECONDS = 0.25
"""After SIGTERM connections that the kernel holds, and requests on open ones, are taken so long."""
ENDING_SECONDS = 10.0
_POLL_SECONDS = 0.02
_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_logger = logging.getLogger("graft.server")


class Serving:
    """Accepts, answers and, when told to end, drains.

    Attributes:
        owns_socket: no other process accepts from the socket.
    """

    def __init__(self, settings: Settings, sock: socket.socket, place: Place | None = None) -> None:
        """Load the release.

        Raises:
            GraftError: there is none that may be served, or a setting that it needs is wrong.
        """
        self.owns_socket = place is None
        self._serve, self._sock, self._place = settings.serve, sock, place or Place()
        self._app: FastAPI = make_app(settings)
        state = self._app.state
        self._connections = Connections(state.worker, state.guard, state.open_paths)
        self._acceptor: Acceptor | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()
        self._orphaned = False

    @property
    def model(self) -> Model:
        """The release that answers."""
        model: Model = self._app.state.worker.engine.model
        return model

    def run(self, ready: Callable[[], None]) -> None:
        """Serve until a signal has ended it; `ready` is called when requests are taken."""
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._run(ready))

    def abandon_from_thread(self) -> bool:
        """The parent is gone: accept nothing more, and end when what is here is answered. False before `run`."""
        if self._loop is None:
            return False
        with suppress(RuntimeError):  # it has ended by itself
            self._loop.call_soon_threadsafe(self._abandon)
        return True

    def _abandon(self) -> None:
        self._orphaned = True
        if self._acceptor is not None:
            self._acceptor.stop()
        self._stop.set()

    async def _run(self, ready: Callable[[], None]) -> None:
        self._loop = loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._told_to_end, number)
        make = partial(GuardedProtocol, self._config(), self._connections, {})
        async with self._app.router.lifespan_context(self._app):
            self._acceptor = Acceptor(self._sock, self._connections, make, self._place)
            self._connections.on_sweep = self._beat
            ticking = asyncio.create_task(self._connections.keep_time())
            gc.collect()
            gc.freeze()  # what lives as long as the process is not looked at by every collection
            if not self._stop.is_set():
                self._acceptor.start()
                ready()
            await self._stop.wait()
            await self._drain(self._acceptor)
            ticking.cancel()
            self._connections.tick()  # what was refused last is told, too
            loop.call_later(ENDING_SECONDS, os._exit, 1)

    def _beat(self) -> None:
        """Not where a thread that answers is stuck, either: a parent then starts another worker."""
        if self._app.state.worker.engine.alive:
            self._place.beat()

    def _config(self) -> Config:
        config = Config(
            self._app,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
        )
        config.load()
        return config

    def _told_to_end(self, number: int) -> None:
        if self._stop.is_set():
            os._exit(128 + number)
        self._connections.admission.draining = True
        self._stop.set()

    async def _drain(self, acceptor: Acceptor) -> None:
        """Lose nothing that came before, or in the last call after it."""
        self._connections.admission.draining = True
        for connection in list(self._connections.connections):
            connection.shutdown()
        if not self._orphaned:
            await asyncio.sleep(self._serve.unready_seconds)
            if self.owns_socket:
                refuse_new_connections(self._sock)
            await asyncio.sleep(LAST_CALL_SECONDS)
            acceptor.accept_waiting()
        acceptor.stop()
        await asyncio.sleep(_POLL_SECONDS)
        with suppress(TimeoutError):
            async with asyncio.timeout(self._serve.drain_seconds):
                await self._emptied()
        left = list(self._connections.connections)
        if left:
            count = counted(len(left), "connection")
            _logger.warning("%s cut off after serve.drain_seconds %g", count, self._serve.drain_seconds)
        for connection in left:
            connection.transport.abort()
        for task in list(self._connections.tasks):
            task.cancel()

    async def _emptied(self) -> None:
        """Close what is idle, until nothing is left."""
        while self._connections.connections or self._connections.tasks:
            for connection in list(self._connections.connections):
                connection.close_if_idle()
            await asyncio.sleep(_POLL_SECONDS)
