"""When a connection is read: not while its client leaves answers lying, nor while its requests wait for their turn."""

from __future__ import annotations

import asyncio
from collections.abc import Sized

from uvicorn.protocols.http.flow_control import FlowControl


class PatientFlow(FlowControl):
    """Uvicorn's flow control, which by itself reads on after every answer, whatever waits already.

    What is kept of a client that sends and never reads is then what one read brings, at most 256 KB, and its answers.
    """

    def __init__(self, transport: asyncio.Transport, waiting: Sized) -> None:
        """`waiting`: the requests of the connection that wait for their turn."""
        super().__init__(transport)
        self._waiting = waiting

    def resume_reading(self) -> None:
        """Read on, unless answers are not taken or requests wait."""
        if not self.write_paused and not self._waiting:
            self.read_on()

    def read_on(self) -> None:
        """Read on in any case."""
        if not self._transport.is_closing():
            super().resume_reading()

    def pause_writing(self) -> None:
        """The client does not take what is written for it."""
        super().pause_writing()
        if not self._transport.is_closing():
            self.pause_reading()

    def resume_writing(self) -> None:
        """It has taken most of it."""
        super().resume_writing()
        self.resume_reading()
