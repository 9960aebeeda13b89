"""Clients that hold a connection and give as little as they can: nothing, half a request, or a byte now and then."""

from __future__ import annotations

import selectors
import socket
import threading
import time

STARTS = (
    b"",
    b"POST /predict HTTP/1.1\r\nHost: x\r\nX-Slow: ",
    b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n",
    b"GET /a-long-path-",
)
STEP_SECONDS = 0.5


class SlowClients:
    """Opens its connections, then sends a byte on each (but the silent ones) every half second until it is closed.

    Attributes:
        lived: seconds until the server ended each connection, in the order of their ends.
    """

    def __init__(self, port: int, count: int) -> None:
        self._port, self._count = port, count
        self.lived: list[float] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> SlowClients:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        opened: dict[socket.socket, float] = {}
        with selectors.DefaultSelector() as selector:
            for number in range(self._count):
                sock = socket.create_connection(("127.0.0.1", self._port), timeout=30)
                sock.sendall(STARTS[number % len(STARTS)])
                sock.setblocking(False)
                silent = not STARTS[number % len(STARTS)]
                selector.register(sock, selectors.EVENT_READ, silent)
                opened[sock] = time.monotonic()
            while opened and not self._over.is_set():
                self._step(selector, opened)
                time.sleep(STEP_SECONDS)
            for sock in opened:
                sock.close()

    def _step(self, selector: selectors.BaseSelector, opened: dict[socket.socket, float]) -> None:
        for key in list(selector.get_map().values()):
            sock = key.fileobj
            assert isinstance(sock, socket.socket)
            if not self._is_open(sock, silent=key.data):
                selector.unregister(sock)
                self.lived.append(time.monotonic() - opened.pop(sock))
                sock.close()

    @staticmethod
    def _is_open(sock: socket.socket, silent: bool) -> bool:
        try:
            while part := sock.recv(4096):
                if b"connection: close" in part.lower():
                    return False
            return False
        except BlockingIOError:
            pass
        except OSError:
            return False
        try:
            if not silent:
                sock.send(b"a")
        except OSError:
            return False
        return True
