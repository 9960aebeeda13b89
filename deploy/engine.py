"""The queue before the model: admission, threads that answer micro-batches, and the reference that a reload swaps."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue

from deploy.batch import FAILED, Answer, AnswerFailed, Done, Part, Request, answered
from deploy.images import Image, check_pixels_together
from deploy.metrics import Metrics
from deploy.model import Model
from deploy.shadow import Shadow
from tasks.decoding import UndecodableImage
from tasks.params import ServeParams

__all__ = ["Answer", "AnswerFailed", "Engine", "Late", "Overloaded", "Stopping"]

LOG = logging.getLogger("graft.engine")
JOIN_SECONDS = 1.0
"""A thread that is in the middle of an image when all is over is not waited for longer."""


class Overloaded(Exception):
    """More images wait than the queue admits."""


class Stopping(Overloaded):
    """The server ends; what it had admitted could not be answered in serve.drain_seconds, or it came too late."""


class Late(Overloaded):
    """A request was not answered in limits.answer_seconds, and is not answered any more."""


class Engine:
    """Answers images in micro-batches; a batch is what waits when a thread is free, and nobody waits for more.

    The threads take their work from the queue themselves, so that no turn of the event loop lies between two batches.
    `model` may be replaced at any time, from any thread: a request keeps the model that its first image began with.

    Attributes:
        admitted: images that wait or are being answered.
        counted: of them against serve.queue, of one request serve.max_batch at most.
        idle: set while there are none.
        shadow: compares a second release, where there is one.
    """

    def __init__(self, model: Model, serve: ServeParams, metrics: Metrics) -> None:
        self.model = model
        self.admitted = 0
        self.counted = 0
        self.idle = threading.Event()
        self.idle.set()
        self.shadow = Shadow(serve, metrics, self.idle)
        self._serve = serve
        self._metrics = metrics
        self._queue: SimpleQueue[Request | None] = SimpleQueue()
        self._open: set[Request] = set()
        self._stopping = False
        self._drained = asyncio.Event()
        self._threads: list[threading.Thread] = []
        self._busy_since: dict[int, float] = {}
        metrics.model(model.name, model.version, model.digest)

    async def start(self) -> None:
        """Begin to answer; what was asked before is answered then."""
        loop = asyncio.get_running_loop()
        self._threads = [
            threading.Thread(target=self._work, args=(loop, place), name=f"answer-{place}", daemon=True)
            for place in range(self._serve.threads)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def alive(self) -> bool:
        """Whether every thread lives, and none is at one batch for longer than a whole request may wait."""
        latest = time.monotonic() - self._serve.limits.answer_seconds
        hangs = any(since < latest for since in list(self._busy_since.values()))
        return not hangs and all(thread.is_alive() for thread in self._threads)

    def take_over(self, model: Model) -> None:
        """Answer with another model from the next request on; from any thread."""
        self.model = model
        self._metrics.model(model.name, model.version, model.digest)

    async def stop(self) -> None:
        """Answer what was admitted, for at most serve.drain_seconds; what is left then is told that the server ends."""
        self._stopping = True
        if self.admitted:
            self._drained.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._drained.wait(), self._serve.drain_seconds)
        if self._open:
            LOG.error("%d requests were not answered within %g s", len(self._open), self._serve.drain_seconds)
        for request in list(self._open):
            _fail(request, Stopping("the server ends"))
        for _ in self._threads:
            self._queue.put(None)
        until = time.monotonic() + JOIN_SECONDS
        for thread in self._threads:
            await asyncio.to_thread(thread.join, max(0.0, until - time.monotonic()))
        await asyncio.to_thread(self.shadow.close)

    async def answer(self, image: Image, request_id: str = "") -> Answer:
        """The answer to an encoded image, or to a prepared (crop, crop, 3) uint8 one.

        Raises:
            Overloaded: the queue is full, or (Stopping) the server ends, or (Late) limits.answer_seconds are over.
            UndecodableImage: the bytes are no image that may be read, or the array has not the model's size.
            AnswerFailed: the model failed, or gave what is not finite.
        """
        return (await self.answer_many([image], request_id))[0]

    async def answer_many(self, images: Sequence[Image], request_id: str = "") -> list[Answer]:
        """The answers to several images, in order, all of one model; others are answered between its batches.

        A request is admitted where there is room for one image: else one of more images than serve.queue never were. It
        counts as serve.max_batch images at most, since that is what others wait for between their own.

        Args:
            images: encoded ones, prepared ones, or an (n, crop, crop, 3) uint8 array of them.
        Raises:
            as `answer`; of an image that cannot be read the text names the place, counted from 0.
            TooManyPixels: the headers of encoded images promise more than limits.request_mpixels together.
        """
        count = len(images)
        if not count:
            return []
        self._check_room()
        if count > 1 and isinstance(images[0], bytes):
            await asyncio.to_thread(check_pixels_together, images, self._serve.limits)
            self._check_room()
        loop, seconds = asyncio.get_running_loop(), self._serve.limits.answer_seconds
        request = Request(images, request_id, loop.create_future())
        deadline = loop.call_later(seconds, _fail, request, Late(f"no answer in {seconds:g} s"))
        self._enter(request, count)
        try:
            return await request.answer
        finally:
            deadline.cancel()
            self._leave(request, count)
            del request, images  # An error's traceback would hold them in a ring until the garbage collector comes.

    def _check_room(self) -> None:
        if self._stopping:
            raise Stopping("the server ends")
        if self.counted >= self._serve.queue:
            raise Overloaded(f"{self.admitted} images wait, {self._serve.queue} are admitted")

    def _enter(self, request: Request, count: int) -> None:
        self._open.add(request)
        self.admitted += count
        self.counted += min(count, self._serve.max_batch)
        self.idle.clear()
        self._metrics.queue(self.admitted)
        self._queue.put(request)

    def _leave(self, request: Request, count: int) -> None:
        request.drop()
        self._open.discard(request)
        self.admitted -= count
        self.counted -= min(count, self._serve.max_batch)
        self._metrics.queue(self.admitted)
        if not self.admitted:
            self.idle.set()
            if self._stopping:
                self._drained.set()

    def _work(self, loop: asyncio.AbstractEventLoop, place: int) -> None:
        """A thread: take what waits, answer it, hand it over; no error ends it.

        Nothing of an answered request is held while the next one is waited for.
        """
        while (first := self._queue.get()) is not None:
            taken = [first]
            del first
            self._busy_since[place] = time.monotonic()
            try:
                self._answer_waiting(taken, loop)
            except Exception:
                if loop.is_closed():  # and with it every client is gone
                    return
                with suppress(Exception):
                    LOG.exception("a batch could not be answered")
                with suppress(Exception):
                    loop.call_soon_threadsafe(self._give_up, taken)
            self._busy_since.pop(place, None)
            del taken

    def _answer_waiting(self, taken: list[Request], loop: asyncio.AbstractEventLoop) -> None:
        if parts := self._take(taken):
            loop.call_soon_threadsafe(self._hand_over, self._answered(parts))

    def _answered(self, parts: Sequence[Part]) -> list[Done]:
        began = time.perf_counter()
        try:
            done = answered(parts, self._serve.limits)
            self._metrics.batch(len(done), time.perf_counter() - began)
        except Exception:
            LOG.exception("a batch could not be answered")
            done = [Done(part.request, part.first, AnswerFailed(FAILED)) for part in parts]
        return done

    def _take(self, taken: list[Request]) -> list[Part]:
        """At most serve.max_batch images; of a request of more the rest goes behind those who wait.

        Args:
            taken: the first request from the queue; those that follow are added.
        """
        parts: list[Part] = []
        request, room = taken[0], self._serve.max_batch
        while True:
            part = request.take(room, self.model)
            if part:
                parts.append(part)
                room -= len(part.images)
                if request.taken < len(request.answers):
                    self._queue.put(request)
            if not room:
                return parts
            try:
                following = self._queue.get_nowait()
            except Empty:
                return parts
            if following is None:
                self._queue.put(None)
                return parts
            taken.append(following)
            request = following

    def _give_up(self, taken: Sequence[Request]) -> None:
        """In the event loop: a thread failed outside of any image."""
        for request in taken:
            if not request.answer.done():
                self._metrics.failed()
                _fail(request, AnswerFailed(FAILED))

    def _hand_over(self, done: Sequence[Done]) -> None:
        """In the event loop: tell clients, then the shadow."""
        for one in done:
            request = one.request
            if request.answer.done():
                continue
            if isinstance(one.outcome, Answer):
                request.answers[one.place] = one.outcome
                request.left -= 1
                if not request.left:
                    request.answer.set_result([answer for answer in request.answers if answer])
                self.shadow.offer(one)
            else:
                if isinstance(one.outcome, AnswerFailed):
                    self._metrics.failed()
                _fail(request, _placed(one))


def _fail(request: Request, err: Exception) -> None:
    if not request.answer.done():
        request.answer.set_exception(err)


def _placed(one: Done) -> Exception:
    """The fault of an image; among several with its place."""
    err = one.outcome
    assert isinstance(err, Exception)
    if len(one.request.answers) > 1 and isinstance(err, UndecodableImage):
        return UndecodableImage(f"image {one.place}: {err}", err.kind)
    return err
