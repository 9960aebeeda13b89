"""From files to a release's answers, on every core: the same reading, preparing and running as a server's."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from tasks.batch_scoring.entries import Entry
from tasks.decoding import UndecodableImage, read_header
from tasks.decoding_memory import room_to_read
from tasks.digests import bytes_sha256
from tasks.errors import ReleaseError
from tasks.modalities.images import has_several_frames
from tasks.modalities.reading import UnreadableFile, read_regular
from tasks.opened_release import FloatMatrix, OpenedRelease
from tasks.params.serve import ServeLimits
from tasks.preprocess import UInt8Image
from tasks.threads import worker_threads

BATCH = 4
"""Images in one run of the model: they stay in a core's cache, and a part of 1,024 rows is whole batches."""

_WAITING_PER_THREAD = 16
_BYTES_PER_PIXEL = 8
_HEADER_BYTES = 2**24
NOT_FINITE = "the model gives no finite probabilities for it"

Mark = TypeVar("Mark")


@dataclass(frozen=True)
class Answers:
    """What a release says of some entries.

    Attributes:
        sha256, errors: one for each entry; None where its content could not be had, or nothing is wrong.
        answered: the places among the entries that have an answer, ascending.
        probabilities, embeddings: (answered, classes) and (answered, width), or None where not asked for.
    """

    sha256: list[str | None]
    errors: list[str | None]
    answered: list[int]
    probabilities: FloatMatrix
    embeddings: FloatMatrix | None


class Answering:
    """One release that answers files below one folder; threads may ask at once."""

    def __init__(self, opened: OpenedRelease, root: Path, limits: ServeLimits, embeddings: bool) -> None:
        """
        Raises:
            ReleaseError: embeddings are wanted and its graph gives none.
        """
        widths = {part.name: part.shape[1] for part in opened.session.get_outputs()}
        if embeddings and "embedding" not in widths:
            raise ReleaseError(
                f"release {opened.folder} gives no `embedding`, only {', '.join(widths)}; leave --embeddings out"
            )
        self.opened, self.root, self.limits = opened, root, limits
        self.outputs = ["probabilities", *(["embedding"] if embeddings else [])]
        self.widths = [int(widths[name]) for name in self.outputs]

    def answers(self, entries: list[Entry]) -> Answers:
        """One run of the model over those entries that can be read."""
        prepared = [self._prepared(entry) for entry in entries]
        images = [image for _, image, _ in prepared if image is not None]
        places = [place for place, (_, image, _) in enumerate(prepared) if image is not None]
        errors = [error for _, _, error in prepared]
        found = self._run(images)
        sound: npt.NDArray[np.bool_] = np.asarray(np.isfinite(found[0]).all(axis=1))
        for row in np.flatnonzero(~sound):
            errors[places[row]] = NOT_FINITE
        return Answers(
            [sha256 for sha256, _, _ in prepared],
            errors,
            [place for place, fine in zip(places, sound, strict=True) if fine],
            found[0][sound],
            found[1][sound] if len(found) > 1 else None,
        )

    def _run(self, images: list[UInt8Image]) -> list[FloatMatrix]:
        if not images:
            return [np.zeros((0, width), dtype=np.float32) for width in self.widths]
        try:
            return self.opened.outputs(np.stack(images), self.outputs)
        except Exception as err:
            reason = " ".join(str(err).split())[:300]
            raise ReleaseError(f"release {self.opened.folder} fails on {len(images)} images: {reason}") from err

    def _prepared(self, entry: Entry) -> tuple[str | None, UInt8Image | None, str | None]:
        """sha256, image and error of one file; at least one of the latter two is None."""
        if entry.fault:
            return None, None, entry.fault
        file, sha256 = self.root / entry.path, None
        try:
            with room_to_read(file):
                data = read_regular(file, self.limits.max_pixels * _BYTES_PER_PIXEL + _HEADER_BYTES)
                sha256 = bytes_sha256(data)
                self._check_frames(data)
                return sha256, self.opened.preprocess.prepare(data, self.limits.formats, self.limits.max_pixels), None
        except (UnreadableFile, UndecodableImage) as err:
            return sha256, None, str(err)

    def _check_frames(self, data: bytes) -> None:
        if self.limits.frames == "single" and has_several_frames(
            read_header(data, self.limits.formats, self.limits.max_pixels)
        ):
            raise UndecodableImage("holds more than one frame or page; only single images are allowed", "frames")


def answered(
    answering: Answering, work: Iterator[tuple[Mark, list[Entry]]], threads: int
) -> Generator[tuple[Mark, list[Entry], Answers], None, None]:
    """Answer pieces of work in threads, in their order; few are under way at once.

    Args:
        work: pieces of some entries (`BATCH`), each with a mark that comes back with its answers.
        threads: 0 takes every core.
    """
    workers = worker_threads(threads)
    waiting: deque[tuple[Mark, list[Entry], Future[Answers]]] = deque()
    pool = ThreadPoolExecutor(workers, "score")
    try:
        for mark, entries in work:
            waiting.append((mark, entries, pool.submit(answering.answers, entries)))
            if len(waiting) > _WAITING_PER_THREAD * workers:
                yield _finished(*waiting.popleft())
        while waiting:
            yield _finished(*waiting.popleft())
    finally:
        pool.shutdown(cancel_futures=True)


def _finished(mark: Mark, entries: list[Entry], future: Future[Answers]) -> tuple[Mark, list[Entry], Answers]:
    return mark, entries, future.result()
