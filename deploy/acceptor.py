"""Takes connections from a listening socket that several workers share."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable
from contextlib import suppress

from deploy.connections import Connections
from deploy.load_board import Place

ACCEPTS = 16
"""Connections taken in one go, so that those which are served are not kept waiting."""
YIELD_SECONDS = 0.002
"""How long a connection is left for a worker that has fewer."""
FULL_SECONDS = 0.05
_FULL_ERRORS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Acceptor:
    """Takes connections from a socket that other workers may share: those with fewer connections go first.

    At `limits.connections` idle ones are closed to make room; where there are none, new ones wait in the kernel.
    """

    def __init__(
        self, sock: socket.socket, connections: Connections, make: Callable[[], asyncio.Protocol], place: Place
    ) -> None:
        self._sock, self._connections, self._make, self._place = sock, connections, make, place
        self._loop = asyncio.get_running_loop()
        self._opening: set[asyncio.Task[object]] = set()
        self._pause: asyncio.TimerHandle | None = None
        self._stopped = False

    def start(self) -> None:
        """Begin to accept."""
        self._connections.on_lost = self._count
        self._count()
        self._loop.add_reader(self._sock.fileno(), self._readable)

    def stop(self) -> None:
        """Accept no more, and close this process's hold on the socket."""
        if self._stopped:
            return
        self._stopped = True
        self._place.leave()
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._sock.fileno())
        self._sock.close()

    @property
    def open(self) -> int:
        """Connections that are served, and those that are being taken."""
        return len(self._connections.connections) + len(self._opening)

    def accept_waiting(self) -> None:
        """Take all that the kernel holds now, beyond the limit too: it would be reset when the socket is closed."""
        while not self._stopped and self._accept(limited=False):
            pass

    def _count(self) -> None:
        if not self._stopped:
            self._place.put(self.open)

    def _readable(self) -> None:
        for _ in range(ACCEPTS):
            if self._place.behind():
                self._wait(YIELD_SECONDS)
                return
            if not self._accept():
                return

    def _wait(self, seconds: float) -> None:
        """Leave the socket alone for a while, then take one whatever the others have."""
        self._loop.remove_reader(self._sock.fileno())
        self._pause = self._loop.call_later(seconds, self._go_on)

    def _go_on(self) -> None:
        self._pause = None
        if not self._stopped:
            self._loop.add_reader(self._sock.fileno(), self._readable)
            self._accept()

    def _accept(self, limited: bool = True) -> bool:
        """Take one connection; False when there is none, or no room."""
        goes = None
        if limited and self.open >= self._connections.limits.connections:
            goes = self._connections.longest_idle()
            if goes is None:
                self._hold()
                return False
        try:
            taken, _ = self._sock.accept()
        except (BlockingIOError, InterruptedError):
            return False
        except ConnectionAbortedError:
            return True
        except OSError as err:
            if err.errno not in _FULL_ERRORS:
                raise
            self._connections.metrics.rejected("connections")
            self._hold()
            return False
        if goes is not None:
            goes.close()
        taken.setblocking(False)
        with suppress(OSError):
            taken.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        task = self._loop.create_task(self._open(taken))
        self._opening.add(task)
        task.add_done_callback(self._opened)
        self._count()
        return True

    def _hold(self) -> None:
        if self._pause is None and not self._stopped:
            self._wait(FULL_SECONDS)

    async def _open(self, taken: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._make, taken)
        except OSError:
            taken.close()

    def _opened(self, task: asyncio.Task[object]) -> None:
        self._opening.discard(task)
        self._count()
