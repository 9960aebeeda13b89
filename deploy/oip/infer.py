"""An inference request's way: read, understand, answer, reply."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext

from starlette.requests import Request
from starlette.responses import Response

from deploy.bodies import MEGABYTE, body_chunks
from deploy.engine import Answer
from deploy.model import Model
from deploy.oip.content_encoding import CODINGS, opened_body
from deploy.oip.refused import Refused
from deploy.oip.reply import Reply, make_reply
from deploy.oip.request import InferRequest, parse_request
from deploy.oip.statistics import Statistics
from deploy.worker import Worker

HEADER_LENGTH = "Inference-Header-Content-Length"
SMALL_JSON = 16_384
"""Bytes of JSON that are read in the event loop, in 20 ms at worst and mostly in one; more goes to a thread."""

LARGE_BODY = 1_000_000
"""Bytes from which on bodies are read one after another: side by side they would only take each other's turns, and more
memory. Smaller ones never wait for them."""

SMALL_REPLY = 4096
"""Numbers that are written as JSON in the event loop."""


class Inference:
    """Answers the inference requests of one worker.

    Attributes:
        statistics: what became of them.
    """

    def __init__(self, worker: Worker) -> None:
        self.statistics = Statistics()
        self._worker = worker
        self._large_one = asyncio.Semaphore(1)

    async def reply(self, http: Request, model: Model, version: str | None) -> Response:
        """The reply to a request that names this model, and where `version` is given that version alone.

        Raises:
            Fault: the request is at fault, or nobody has time for it.
        """
        began = time.perf_counter_ns()
        try:
            answers, reply = await self._answered(http, model, version)
        except Exception:
            self.statistics.failed(model.name, model.version, time.perf_counter_ns() - began)
            raise
        served = answers[0].model
        self.statistics.answered(served.name, served.version, len(answers), time.perf_counter_ns() - began)
        return _response(reply)

    async def _answered(self, http: Request, model: Model, version: str | None) -> tuple[list[Answer], Reply]:
        state = http.scope["state"]
        request = await self._request(http, model)
        answers = await self._worker.engine.answer_many(request.images, state["request_id"])
        served = answers[0].model
        state["version"] = served.version
        if version is not None and served.version != version:
            raise gone(model.name, version, served)
        self._capture(request, answers, state["request_id"])
        written = sum(len(answers) * asked.tensor.shape[1] for asked in request.outputs if not asked.binary)
        if written <= SMALL_REPLY:
            return answers, make_reply(request, answers)
        return answers, await asyncio.to_thread(make_reply, request, answers)

    async def _request(self, http: Request, model: Model) -> InferRequest:
        """Read and understood; the body itself is let go here, and does not wait with its images to be answered."""
        limits = self._worker.settings.serve.limits
        header_length = _header_length(http)
        encoding = http.headers.get("content-encoding")
        body = b"".join([chunk async for chunk in body_chunks(http, limits, CODINGS)])

        def parsed() -> InferRequest:
            plain = opened_body(body, encoding, int(limits.body_mb * MEGABYTE))
            return parse_request(plain, header_length, model, limits)

        small = not encoding and (len(body) if header_length is None else header_length) <= SMALL_JSON
        large = encoding is not None or len(body) > LARGE_BODY
        return parsed() if small else await self._in_thread(parsed, large)

    async def _in_thread(self, parsed: Callable[[], InferRequest], large: bool) -> InferRequest:
        async with self._large_one if large else nullcontext():
            work = asyncio.ensure_future(asyncio.to_thread(parsed))
            try:
                return await asyncio.shield(work)
            except asyncio.CancelledError:  # its client went: slot and turn are held as long as the thread has the body
                await asyncio.wait([work])
                raise

    def _capture(self, request: InferRequest, answers: Sequence[Answer], request_id: str) -> None:
        capture = self._worker.capture
        if capture is None:
            return
        for image, answer in zip(request.images, answers, strict=True):
            capture.offer(request_id, image if isinstance(image, bytes) else None, answer)


def gone(name: str, version: str, served: Model) -> Refused:
    """What is said of a version that is not served, or was until a moment ago."""
    return Refused(
        f"model {name!r} has no version {version[:60]!a} here; version {served.version!r} is served", 404, None
    )


def _header_length(http: Request) -> int | None:
    given = http.headers.getlist(HEADER_LENGTH)
    if not given:
        return None
    if len(given) > 1 or not (given[0].isascii() and given[0].isdigit()) or len(given[0]) > 18:
        raise Refused(f"{HEADER_LENGTH} must be one number of bytes, not {', '.join(given)[:60]!a}")
    return int(given[0])


def _response(reply: Reply) -> Response:
    if reply.header_length is None:
        return Response(reply.body, media_type="application/json")
    return Response(
        reply.body, headers={HEADER_LENGTH: str(reply.header_length)}, media_type="application/octet-stream"
    )
