"""One micro-batch: what waits, what a thread takes of it, and decoding and running that."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from deploy.images import Image, prepared
from deploy.model import Model, Outputs
from tasks.decoding import UInt8Image, UndecodableImage
from tasks.opened_release import FloatMatrix
from tasks.params.serve import ServeLimits

LOG = logging.getLogger("graft.engine")
FAILED = "the model could not answer this image"


@dataclass(frozen=True, slots=True)
class Answer:
    """What one image was answered, and by which model.

    Attributes:
        probabilities, logits: (classes,) float32, finite.
        embedding: (width,) float32, finite.
    """

    model: Model
    probabilities: FloatMatrix
    logits: FloatMatrix
    embedding: FloatMatrix


class AnswerFailed(Exception):
    """The model gave no answer to an image that was sound: the server's own fault, which its log tells about."""


class Request:
    """Images of one client, answered by one model, however many batches they take.

    Attributes:
        left: images without an answer yet.
        taken: images that threads took so far.
        failed: one of them cannot be answered, and the others are not asked for any more.
    """

    __slots__ = ("answer", "answers", "failed", "images", "left", "model", "request_id", "taken")

    def __init__(self, images: Sequence[Image], request_id: str, answer: asyncio.Future[list[Answer]]) -> None:
        self.images = images
        self.request_id = request_id
        self.answer = answer
        self.answers: list[Answer | None] = [None] * len(images)
        self.left = len(images)
        self.model: Model | None = None
        self.taken = 0
        self.failed = False

    def take(self, most: int, present: Model) -> Part | None:
        """The next images, at most so many; None where nobody waits for them any more.

        The first part pins the model, so that one reply never mixes two releases.
        """
        images = self.images[self.taken : self.taken + most]
        if self.failed or not len(images):
            return None
        self.model = self.model or present
        part = Part(self, self.model, self.taken, images)
        self.taken += len(images)
        return part

    def drop(self) -> None:
        """Nobody waits any more: what lies in the queue yet holds no image."""
        self.images = ()


@dataclass(frozen=True, slots=True)
class Part:
    """Images of a request that are answered in one batch; `first` is the place of the first one in it."""

    request: Request
    model: Model
    first: int
    images: Sequence[Image]


@dataclass(frozen=True, slots=True)
class Done:
    """What became of one image.

    Attributes:
        image: as it was sent, where it was answered.
        pixels: as the model saw them; None where it did not.
    """

    request: Request
    place: int
    outcome: Answer | Exception
    image: Image = b""
    pixels: UInt8Image | None = None


class _Ready(NamedTuple):
    request: Request
    place: int
    image: Image
    pixels: UInt8Image


def answered(parts: Sequence[Part], limits: ServeLimits) -> list[Done]:
    """Decode and run parts, those of one model together; an image that fails fails alone. Never raises."""
    done: list[Done] = []
    models = {id(part.model): part.model for part in parts}
    for model in models.values():
        done += _answered([part for part in parts if part.model is model], model, limits)
    for one in done:
        one.request.failed |= isinstance(one.outcome, Exception)
    return done


def _answered(parts: Sequence[Part], model: Model, limits: ServeLimits) -> list[Done]:
    done: list[Done] = []
    ready: list[_Ready] = []
    for request, place, image in _wanted(parts):
        try:
            ready.append(_Ready(request, place, image, prepared(image, model.opened.preprocess, limits)))
        except UndecodableImage as err:
            # A new one: the traceback would hold the image in a ring until the garbage collector comes.
            done.append(Done(request, place, UndecodableImage(str(err), err.kind)))
        except Exception:
            LOG.exception("an image could not be prepared (request %s)", request.request_id)
            done.append(Done(request, place, AnswerFailed(FAILED)))
    return done + _run(ready, model)


def _wanted(parts: Sequence[Part]) -> Iterator[tuple[Request, int, Image]]:
    for part in parts:
        for offset, image in enumerate(part.images):
            if not part.request.answer.done():
                yield part.request, part.first + offset, image


def _run(ready: Sequence[_Ready], model: Model) -> list[Done]:
    if not ready:
        return []
    try:
        outputs = model.run(ready[0].pixels[None] if len(ready) == 1 else np.stack([one.pixels for one in ready]))
    except Exception:
        if len(ready) > 1:
            return [done for one in ready for done in _run([one], model)]
        LOG.exception("release %s failed to answer (request %s)", model.version, ready[0].request.request_id)
        return [Done(ready[0].request, ready[0].place, AnswerFailed(FAILED))]
    finite = _finite(outputs)
    return [
        Done(one.request, one.place, _outcome(one.request, model, outputs, row, finite), one.image, one.pixels)
        for row, one in enumerate(ready)
    ]


def _outcome(request: Request, model: Model, outputs: Outputs, row: int, finite: bool) -> Answer | AnswerFailed:
    parts = outputs.probabilities[row], outputs.logits[row], outputs.embedding[row]
    if finite or all(np.isfinite(part).all() for part in parts):
        return Answer(model, *parts)
    LOG.error("release %s gave an answer that is not finite (request %s)", model.version, request.request_id)
    return AnswerFailed("the model's answer to this image is not finite")


def _finite(outputs: Outputs) -> bool:
    """Judged by the sums, which are cheap; a sum may overflow where the parts are sound, never the other way."""
    with np.errstate(all="ignore"):
        sums = outputs.probabilities.sum(), outputs.logits.sum(), outputs.embedding.sum()
    return bool(np.isfinite(sums).all())
