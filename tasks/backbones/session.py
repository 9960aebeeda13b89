"""Running an ONNX graph over image files, on every core, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from tasks.decoding_memory import room_to_read
from tasks.digests import bytes_sha256
from tasks.errors import DataError
from tasks.params.validate import ImageFormat
from tasks.preprocess import Preprocess, UInt8Image, UndecodableImage
from tasks.threads import worker_threads

FloatMatrix = npt.NDArray[np.float32]

VALIDATED_FORMATS = get_args(ImageFormat)
VALIDATED_MAX_PIXELS = 2**31
"""What may be read of content that validate accepted: its own limits were judged there, under its own params."""


def prepare_batch(files: Sequence[Path], contents: Sequence[str], preprocess: Preprocess) -> npt.NDArray[np.uint8]:
    """Files to one (n, crop, crop, 3) uint8 batch.

    Args:
        contents: sha256 that each file had when it was validated.
    Raises:
        DataError: a file is gone, changed or no longer decodes; it is named.
    """
    return np.stack([_prepare_file(*named, preprocess) for named in zip(files, contents, strict=True)])


def _prepare_file(file: Path, content: str, preprocess: Preprocess) -> UInt8Image:
    try:
        with room_to_read(file):
            data = file.read_bytes()
            if bytes_sha256(data) != content:
                raise DataError(f"{file} changed after the data were validated; run `graft adapt` again")
            return preprocess.prepare(data, VALIDATED_FORMATS, VALIDATED_MAX_PIXELS)
    except OSError as err:
        raise DataError(f"{file} cannot be read ({err.strerror}); it was there when the data were validated") from err
    except UndecodableImage as err:
        raise DataError(f"{file} cannot be decoded ({err}); it could when the data were validated") from err


def run_over_files(
    session: Any,
    outputs: Sequence[str],
    files: Sequence[Path],
    contents: Sequence[str],
    preprocess: Preprocess,
    batch_size: int,
    threads: int,
    on_batch: Callable[[int], None] = lambda count: None,
) -> Iterator[tuple[slice, list[FloatMatrix]]]:
    """Decode and run batches in `threads` threads (0: every core), in order of `files`.

    Args:
        contents: sha256 that each file had when it was validated.
    Yields:
        the rows that a batch covers, and its outputs, (rows, width) float32 each.
    Raises:
        DataError: as `prepare_batch`.
    """
    workers = worker_threads(threads)
    starts = range(0, len(files), batch_size)

    def compute(start: int) -> tuple[slice, list[FloatMatrix]]:
        part = slice(start, min(start + batch_size, len(files)))
        batch = prepare_batch(files[part], contents[part], preprocess)
        return part, session.run(list(outputs), {"image": batch})

    with ThreadPoolExecutor(workers) as pool:
        waiting: list[Future[tuple[slice, list[FloatMatrix]]]] = []
        try:
            for start in starts:
                waiting.append(pool.submit(compute, start))
                if len(waiting) > 2 * workers:
                    yield _finish(waiting.pop(0), on_batch)
            while waiting:
                yield _finish(waiting.pop(0), on_batch)
        finally:
            for future in waiting:
                future.cancel()


def _finish(
    future: Future[tuple[slice, list[FloatMatrix]]], on_batch: Callable[[int], None]
) -> tuple[slice, list[FloatMatrix]]:
    rows, values = future.result()
    on_batch(rows.stop - rows.start)
    return rows, values
