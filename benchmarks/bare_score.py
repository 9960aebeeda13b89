"""A bare Pillow and ONNX Runtime loop that predicts photos: what `graft score` is measured against. Stands alone.

    python benchmarks/bare_score.py FILES.txt MODEL.onnx PROBABILITIES.npy [--workers 2] [--processes] [--batch 4]
        [--resize 256] [--crop 224]

FILES.txt names one photo a line. Every thread (or process, --processes) decodes a batch and runs it through a session
of one thread. Nothing is checked, hashed or kept but the probabilities.
"""

from __future__ import annotations

import argparse
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from PIL import Image, ImageOps

FloatMatrix = npt.NDArray[np.float32]


@cache
def session_of(graph: str) -> Any:
    """A CPU session of one thread; one in each process."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def prepared(file: str, resize: int, crop: int) -> npt.NDArray[np.uint8]:
    """One photo as (crop, crop, 3): upright, RGB, shorter side to `resize`, the centre."""
    image = ImageOps.exif_transpose(Image.open(file)).convert("RGB")
    width, height = image.size
    short = min(width, height)
    image = image.resize((int(resize * width / short), int(resize * height / short)), Image.Resampling.BILINEAR)
    left, top = round((image.width - crop) / 2), round((image.height - crop) / 2)
    return np.asarray(image.crop((left, top, left + crop, top + crop)))


def probabilities_of(files: list[str], graph: str, resize: int, crop: int) -> FloatMatrix:
    """(files, classes) of one batch."""
    batch = np.stack([prepared(file, resize, crop) for file in files])
    rows: FloatMatrix = session_of(graph).run(["probabilities"], {"image": batch})[0]
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path)
    parser.add_argument("graph")
    parser.add_argument("probabilities", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--processes", action="store_true")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--resize", type=int, default=256)
    parser.add_argument("--crop", type=int, default=224)
    asked = parser.parse_args()
    files = asked.files.read_text(encoding="utf-8").splitlines()
    parts = [files[start : start + asked.batch] for start in range(0, len(files), asked.batch)]
    same = len(parts)
    pool: Executor = (ProcessPoolExecutor if asked.processes else ThreadPoolExecutor)(asked.workers)
    if not asked.processes:
        session_of(asked.graph)  # once, before threads ask for it
    more = {"chunksize": 16} if asked.processes else {}
    with pool:
        columns = parts, [asked.graph] * same, [asked.resize] * same, [asked.crop] * same
        np.save(asked.probabilities, np.concatenate(list(pool.map(probabilities_of, *columns, **more))))


if __name__ == "__main__":
    main()
