"""The queue before the model: admission, micro-batches, and the reference that a reload swaps."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from deploy.model import Model
from tasks.opened_release import FloatMatrix
from tasks.params import ServeParams
from tasks.preprocess import UInt8Image


class Overloaded(Exception):
    """More images wait than the queue admits."""


@dataclass(frozen=True)
class Answer:
    """What one image was answered, and by which model.

    Attributes:
        probabilities, logits: (classes,) float32.
        embedding: (width,) float32.
    """

    model: Model
    probabilities: FloatMatrix
    logits: FloatMatrix
    embedding: FloatMatrix


@dataclass(frozen=True)
class _Waiting:
    image: bytes | UInt8Image
    answer: asyncio.Future[Answer]


class Engine:
    """Answers images one micro-batch after another; a batch is what waits when a thread is free, nobody waits for more.

    `model` may be replaced at any time: a batch keeps the model that it began with.
    """

    def __init__(self, model: Model, serve: ServeParams) -> None:
        self.model = model
        self._serve = serve
        self._queue: asyncio.Queue[_Waiting] = asyncio.Queue()
        self._pool = ThreadPoolExecutor(serve.threads, thread_name_prefix="answer")
        self._tasks: list[asyncio.Task[None]] = []
        self.admitted = 0

    async def start(self) -> None:
        self._tasks = [asyncio.create_task(self._serve_batches()) for _ in range(self._serve.threads)]

    async def stop(self) -> None:
        """End when all that was admitted is answered."""
        await self._queue.join()
        for task in self._tasks:
            task.cancel()
        self._pool.shutdown()

    async def answer(self, image: bytes | UInt8Image) -> Answer:
        """The answer to an encoded image, or to a prepared (crop, crop, 3) one.

        Raises:
            Overloaded: the queue is full.
            UndecodableImage: the bytes are no image that may be read.
        """
        if self.admitted >= self._serve.queue:
            raise Overloaded
        self.admitted += 1
        waiting = _Waiting(image, asyncio.get_running_loop().create_future())
        self._queue.put_nowait(waiting)
        try:
            return await waiting.answer
        finally:
            self.admitted -= 1

    async def _serve_batches(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            batch = [await self._queue.get()]
            while len(batch) < self._serve.max_batch and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            answers = await loop.run_in_executor(self._pool, self._answered, self.model, [one.image for one in batch])
            for one, answer in zip(batch, answers, strict=True):
                if not one.answer.done():
                    if isinstance(answer, Answer):
                        one.answer.set_result(answer)
                    else:
                        one.answer.set_exception(answer)
                self._queue.task_done()

    def _answered(self, model: Model, images: list[bytes | UInt8Image]) -> list[Answer | Exception]:
        """In a thread: decode, run, and tell apart; an image that fails fails alone."""
        limits, found = self._serve.limits, list[Answer | Exception]()
        prepared: list[UInt8Image] = []
        places: list[int] = []
        for image in images:
            try:
                ready = (
                    model.opened.preprocess.prepare(image, limits.formats, limits.max_pixels)
                    if isinstance(image, bytes)
                    else image
                )
            except Exception as err:
                found.append(err)
                continue
            places.append(len(found))
            found.append(RuntimeError("not answered"))
            prepared.append(ready)
        if prepared:
            try:
                outputs = model.run(np.stack(prepared))
            except Exception as err:
                return [err if isinstance(one, RuntimeError) else one for one in found]
            for row, place in enumerate(places):
                found[place] = Answer(model, outputs.probabilities[row], outputs.logits[row], outputs.embedding[row])
        return found
