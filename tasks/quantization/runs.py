"""Running graphs over prepared images, and how far one's logits lie from another's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.onnx_session import open_session
from tasks.preprocess import UInt8Image
from tasks.threads import worker_threads

FloatMatrix = npt.NDArray[np.float32]
BATCH = 4


def each_batch(session: Any, outputs: Sequence[str], images: UInt8Image, threads: int) -> Iterator[list[Any]]:
    """The outputs of each batch of (items, crop, crop, 3) images, in order; `threads` 0 takes every core."""
    starts = range(0, len(images), BATCH)
    with ThreadPoolExecutor(worker_threads(threads)) as pool:
        yield from pool.map(lambda start: session.run(list(outputs), {"image": images[start : start + BATCH]}), starts)


def logits_of(graph: bytes, images: UInt8Image, threads: int) -> FloatMatrix:
    """(items, classes) logits of prepared images, one at least."""
    return np.concatenate([rows for (rows,) in each_batch(open_session(graph), ["logits"], images, threads)])


def distance(logits: FloatMatrix, reference: FloatMatrix) -> float:
    """Mean squared difference of two models' logits / the variance of the reference's; 0 where they are equal.

    What is added to every logit of an item changes no probability, and is taken off first.
    """
    ours, theirs = (rows - rows.mean(axis=1, keepdims=True) for rows in (logits, reference))
    spread = float((theirs**2).mean())
    return float(((ours - theirs) ** 2).mean()) / spread if spread else float(np.any(ours))
