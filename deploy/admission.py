"""Who is let in: slots for inference requests, and a bound on the bodies that are still coming."""

from __future__ import annotations

from typing import Protocol


class Admission:
    """The slots of one worker, used from its event loop alone.

    A slot is an inference request whose body is there and whose answer is not: one that is still sending holds none,
    so that slow clients take nothing from the others.

    Attributes:
        draining: the server is to end; it is not ready any more, and what was let in is answered.
    """

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._taken = 0
        self.draining = False

    @property
    def taken(self) -> int:
        """Requests that are being answered."""
        return self._taken

    @property
    def full(self) -> bool:
        """Whether the next request would be refused."""
        return self._taken >= self._slots

    def enter(self) -> Slot | None:
        """Take a slot; None where there is none."""
        if self.full:
            return None
        self._taken += 1
        return Slot(self)

    def given_back(self) -> None:
        """Called by a slot, once."""
        self._taken -= 1


class Slot:
    """What a request holds from its complete body to its complete answer."""

    def __init__(self, admission: Admission) -> None:
        self._admission: Admission | None = admission

    def leave(self) -> None:
        """Give it back; again, it does nothing."""
        if self._admission is not None:
            self._admission.given_back()
            self._admission = None


class Upload(Protocol):
    """A connection whose request's body is coming."""

    def evict(self) -> None:
        """Refuse the request: its body took too long while room was needed."""


class Uploads:
    """Bytes of bodies that are not complete; beyond the limit the oldest is refused, so that a stalled one holds none.

    Complete bodies are bounded by the slots.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._held: dict[Upload, int] = {}
        self.bytes = 0

    def grow(self, upload: Upload, size: int) -> None:
        """`size` more bytes of a body came; the first ones decide its place in the order of age."""
        self._held[upload] = self._held.get(upload, 0) + size
        self.bytes += size
        while self.bytes > self._limit and len(self._held) > 1:
            oldest = next(iter(self._held))
            self.end(oldest)
            oldest.evict()

    def end(self, upload: Upload) -> None:
        """The body is complete, or its connection is gone."""
        self.bytes -= self._held.pop(upload, 0)


def is_inference(method: str, path: str) -> bool:
    """Whether a request asks for a model's answer, and so needs a slot.

    >>> is_inference("POST", "/predict"), is_inference("POST", "/v2/models/dogs/infer"), is_inference("GET", "/predict")
    (True, True, False)
    """
    return method == "POST" and (path == "/predict" or (path.startswith("/v2/models/") and path.endswith("/infer")))
