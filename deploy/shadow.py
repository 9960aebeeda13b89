"""A second release that sees a share of the images after their clients were answered, for comparison only."""

from __future__ import annotations

import logging
import os
import random
import threading
from collections import Counter, deque
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import numpy as np
from pydantic import BaseModel

from deploy.batch import Answer, Done
from deploy.images import Image, prepared
from deploy.metrics import Metrics
from deploy.model import Model
from tasks.opened_release import FloatMatrix
from tasks.params import ServeParams

LOG = logging.getLogger("graft.shadow")
MOST_BYTES = 64_000_000
"""Of the images that wait for it: sixty-four photos of 20 MB would be more memory than the server itself takes."""
LOOK_SECONDS = 0.5
JOIN_SECONDS = 1.0
Outcome = Literal["agreed", "disagreed", "failed", "dropped"]


class Told(BaseModel):
    """What one release says of an image: its version, the label it puts first and that one's probability."""

    version: str
    label: str
    probability: float


class Disagreement(BaseModel):
    """An image that two releases put under different labels.

    Attributes:
        at: UTC, ISO 8601.
        image: its place in the request, from 0.
    """

    at: str
    request_id: str
    image: int
    live: Told
    shadow: Told


class ShadowView(BaseModel):
    """What this worker process compared since it took this shadow over; `graft_shadow_total` counts for all workers.

    Attributes:
        version, digest: null where there is no shadow.
        disagreements: the latest, the newest first.
    """

    process: int
    share: float
    version: str | None
    digest: str | None
    agreed: int
    disagreed: int
    failed: int
    dropped: int
    disagreements: list[Disagreement]


@dataclass(frozen=True, slots=True)
class _Seen:
    """An image to compare; bytes where the shadow prepares images otherwise than the live release."""

    request_id: str
    place: int
    image: Image
    live: Told
    against: Model

    @property
    def size(self) -> int:
        return self.image.nbytes if isinstance(self.image, np.ndarray) else len(self.image)


class Shadow:
    """Compares in a thread of its own, one image at a time, and only while no client waits: it never delays one."""

    def __init__(self, serve: ServeParams, metrics: Metrics, idle: threading.Event, seed: int | None = None) -> None:
        """
        Args:
            idle: set while the engine has nothing to answer.
            seed: of the sample; None: the process's number, so that workers see different shares.
        """
        self._serve, self._metrics, self._idle = serve, metrics, idle
        self._random = random.Random(os.getpid() if seed is None else seed)
        self._queue: deque[_Seen] = deque()
        self._bytes = 0
        self._changed = threading.Condition()
        self._model: Model | None = None
        self._counts: Counter[Outcome] = Counter()
        self._kept: deque[Disagreement] = deque(maxlen=serve.shadow.kept)
        self._thread: threading.Thread | None = None
        self._closing = False

    @property
    def model(self) -> Model | None:
        """The release in the shadow; None: there is none."""
        return self._model

    def take_over(self, model: Model | None) -> None:
        """Compare with another release from now on, or (None) with none; from any thread. Counts begin anew."""
        with self._changed:
            if model is None or self._model is None or model.digest != self._model.digest:
                self._counts.clear()
                self._kept.clear()
            self._model = model
            self._queue.clear()
            self._bytes = 0
            if model is not None and self._thread is None and not self._closing:
                self._thread = threading.Thread(target=self._compare, name="shadow", daemon=True)
                self._thread.start()

    def offer(self, done: Done) -> None:
        """An image that was answered; takes microseconds, never waits and never raises."""
        model = self._model
        if model is None or self._random.random() >= self._serve.shadow.share:
            return
        try:
            kept = self._put(done, model)
        except Exception:
            LOG.exception("an answer could not be compared (request %s)", done.request.request_id)
            self._count("failed")
            return
        if not kept:
            self._count("dropped")

    def _put(self, done: Done, model: Model) -> bool:
        answer = done.outcome
        if not isinstance(answer, Answer):
            return True
        image = done.pixels if model.opened.preprocess == answer.model.opened.preprocess else done.image
        if image is None:
            return False
        if isinstance(image, np.ndarray) and image.base is not None:
            image = image.copy()  # One row would keep all images of a request.
        seen = _Seen(done.request.request_id, done.place, image, _told(answer.model, answer.probabilities), model)
        with self._changed:
            full = len(self._queue) >= self._serve.shadow.queue or self._bytes + seen.size > MOST_BYTES
            if full or self._closing:
                return False
            self._queue.append(seen)
            self._bytes += seen.size
            self._changed.notify()
        return True

    def _compare(self) -> None:
        """The thread: one image after another, while nobody waits for an answer; no error ends it."""
        while (seen := self._next()) is not None:
            try:
                outcome = self._outcome(seen)
            except Exception as err:
                LOG.warning(
                    "shadow %s failed on an image (request %s): %s",
                    seen.against.version,
                    seen.request_id,
                    " ".join(str(err).split())[:200] or type(err).__name__,
                )
                outcome = "failed"
            self._count(outcome, seen.against)
            del seen

    def _next(self) -> _Seen | None:
        """What is to be compared next, as soon as nobody waits; None at the end."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._closing)
            if self._closing:
                return None
            if not self._idle.wait(LOOK_SECONDS):
                continue
            with self._changed:
                if self._queue:
                    seen = self._queue.popleft()
                    self._bytes -= seen.size
                    return seen

    def _outcome(self, seen: _Seen) -> Outcome:
        model = seen.against
        pixels = prepared(seen.image, model.opened.preprocess, self._serve.limits)
        probabilities = model.run(pixels[None]).probabilities[0]
        if not np.isfinite(probabilities).all():
            raise ValueError("its answer is not finite")
        told = _told(model, probabilities)
        if told.label == seen.live.label:
            return "agreed"
        at = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        found = Disagreement(at=at, request_id=seen.request_id, image=seen.place, live=seen.live, shadow=told)
        with self._changed:
            if model is self._model:
                self._kept.append(found)
        LOG.info(
            "v%s says %s (%.4f) and shadow v%s %s (%.4f) of image %d of request %s",
            *(seen.live.version, seen.live.label, seen.live.probability, told.version, told.label, told.probability),
            *(seen.place, seen.request_id),
        )
        return "disagreed"

    def _count(self, outcome: Outcome, against: Model | None = None) -> None:
        """Count for everybody, and for the view unless the shadow has been replaced meanwhile."""
        with self._changed:
            if against is None or against is self._model:
                self._counts[outcome] += 1
        self._metrics.shadow(outcome)

    def view(self) -> ShadowView:
        """How the two releases compare so far, in this process."""
        with self._changed:
            model, counts, kept = self._model, self._counts.copy(), list(self._kept)
        return ShadowView(
            process=os.getpid(),
            share=self._serve.shadow.share,
            version=model.version if model else None,
            digest=model.digest if model else None,
            agreed=counts["agreed"],
            disagreed=counts["disagreed"],
            failed=counts["failed"],
            dropped=counts["dropped"],
            disagreements=kept[::-1],
        )

    def close(self) -> None:
        """End the thread; what waits is not compared any more."""
        with self._changed:
            self._closing = True
            self._queue.clear()
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(JOIN_SECONDS)


def _told(model: Model, probabilities: FloatMatrix) -> Told:
    best = int(probabilities.argmax())
    return Told(version=model.version, label=model.labels[best], probability=round(float(probabilities[best]), 6))
