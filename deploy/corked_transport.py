"""One write for a reply's head and body."""

from __future__ import annotations

import asyncio
from typing import Any


class CorkedTransport:
    """Holds the first write, a reply's head, for the second one; everything else goes to the transport as it is.

    uvicorn writes head and body apart, which are two system calls and two packets.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._held: bytes | None = None
        self._open = False

    def write(self, data: bytes) -> None:
        """Hold the first, send it with the second, then send."""
        if self._open:
            self._transport.write(data)
        elif self._held is None:
            self._held = data
        else:
            self._open = True
            self._transport.write(self._held + data)

    def flush(self) -> None:
        """Send what is held: the reply has no body."""
        if not self._open:
            self._open = True
            if self._held is not None:
                self._transport.write(self._held)

    def close(self) -> None:
        """Close when all is sent."""
        self.flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
