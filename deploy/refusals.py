"""What a connection refuses by itself, before or in place of the application."""

from __future__ import annotations

from typing import Any, Literal

from deploy.admission import is_inference
from deploy.engine import Overloaded
from deploy.faults import Fault, fault_of
from deploy.middleware import UNMATCHED
from deploy.oip.routes import MODEL, VERSION


def overloaded(retry_after_seconds: int) -> Fault:
    """503: every slot is taken."""
    return fault_of(Overloaded(), retry_after_seconds)


def head_too_large(most: int) -> Fault:
    """431: the request line and headers together."""
    message = f"the request line and headers are larger than {most} bytes, the most this server reads"
    return Fault(431, "head_too_large", message, "header")


def body_too_large(most: int) -> Fault:
    """413: by its announced length, or by what came."""
    message = f"the body is larger than {most} bytes, the most this server takes; send a smaller image"
    return Fault(413, "too_large", message, "too_large")


def too_slow(part: Literal["head", "body"]) -> Fault:
    """408: a part of the request did not come in time."""
    name = "headers" if part == "head" else "body"
    return Fault(408, "timeout", f"the request's {name} did not come in time", "deadline")


def malformed(part: Literal["header", "body"]) -> Fault:
    """400: not HTTP/1.1, or ambiguous enough to be read in two ways."""
    what = "headers are no valid HTTP/1.1" if part == "header" else "body does not have the form its headers say"
    return Fault(400, "bad_request", f"the request's {what}", part)


def route_of(scope: Any) -> str:
    """The pattern under which a refused request is counted; never a path that a client chose."""
    if not is_inference(scope["method"], scope["path"]):
        return UNMATCHED
    if scope["path"] == "/predict":
        return "/predict"
    return f"{VERSION if '/versions/' in scope['path'] else MODEL}/infer"
