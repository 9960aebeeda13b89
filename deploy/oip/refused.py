"""What a client of the protocol is told when its request is not answered."""

from __future__ import annotations

from deploy.faults import Fault
from deploy.metrics import Rejection

_CODES = {404: "not_found", 413: "too_large", 415: "unsupported_encoding"}


class Refused(Fault):
    """A request that is at fault; its text goes into the error object."""

    def __init__(self, text: str, status: int = 400, reason: Rejection | None = "body") -> None:
        super().__init__(status, _CODES.get(status, "bad_request"), text, reason)


def stopping() -> Fault:
    """Of a server that answers what it has, and wants no more."""
    return Fault(
        503, "stopping", "this server is about to stop and takes no new requests", headers={"Retry-After": "1"}
    )


def not_answering() -> Fault:
    """Of a server whose answering threads ended or hang."""
    return Fault(
        503, "not_answering", "this server does not answer; its log may tell why", headers={"Retry-After": "1"}
    )
