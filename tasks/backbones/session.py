"""Running an ONNX graph over image files, on every core, in bounded memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.backbones.engine import PROVIDER
from tasks.errors import DataError
from tasks.preprocess import Preprocess, UInt8Image, UndecodableImage

FloatMatrix = npt.NDArray[np.float32]


def open_session(graph: Path) -> Any:
    """An ONNX Runtime session of one thread; several callers may run it at once."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(str(graph), options, providers=[PROVIDER])


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def prepare_batch(files: Sequence[Path], preprocess: Preprocess) -> npt.NDArray[np.uint8]:
    """Files to one (n, crop, crop, 3) uint8 batch.

    Raises:
        DataError: a file is gone or no longer decodes; it is named.
    """
    return np.stack([_prepare_file(file, preprocess) for file in files])


def _prepare_file(file: Path, preprocess: Preprocess) -> UInt8Image:
    try:
        return preprocess.prepare(file.read_bytes())
    except OSError as err:
        raise DataError(f"{file} cannot be read ({err.strerror}); it was there when the data were validated") from err
    except UndecodableImage as err:
        raise DataError(f"{file} cannot be decoded ({err}); it could when the data were validated") from err


def run_over_files(
    session: Any,
    outputs: Sequence[str],
    files: Sequence[Path],
    preprocess: Preprocess,
    batch_size: int,
    threads: int,
    on_batch: Callable[[int], None] = lambda count: None,
) -> Iterator[tuple[slice, list[FloatMatrix]]]:
    """Decode and run batches in `threads` threads (0: every core), in order of `files`.

    Yields:
        the rows that a batch covers, and its outputs, (rows, width) float32 each.
    """
    workers = threads or cores()
    starts = range(0, len(files), batch_size)

    def compute(start: int) -> tuple[slice, list[FloatMatrix]]:
        part = files[start : start + batch_size]
        return slice(start, start + len(part)), session.run(list(outputs), {"image": prepare_batch(part, preprocess)})

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
