"""A bare Pillow and ONNX Runtime loop on every core: what embed is measured against. Stands alone.

    python benchmarks/bare_embed.py FILES.txt MODEL.onnx FEATURES.npy [--threads 2] [--batch 4]
        [--resize 256] [--crop 224]

FILES.txt names one photo a line. Every thread decodes a batch and runs it through a session of one thread; that was
faster here than decoding in threads before one session that uses every core (--one-session). Nothing is cached, checked
or kept but the features.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from PIL import Image, ImageOps


def prepared(file: str, resize: int, crop: int) -> npt.NDArray[np.uint8]:
    """One photo as (crop, crop, 3): upright, RGB, shorter side to `resize`, the centre."""
    image = ImageOps.exif_transpose(Image.open(file)).convert("RGB")
    width, height = image.size
    short = min(width, height)
    image = image.resize((int(resize * width / short), int(resize * height / short)), Image.Resampling.BILINEAR)
    left, top = round((image.width - crop) / 2), round((image.height - crop) / 2)
    return np.asarray(image.crop((left, top, left + crop, top + crop)))


def session_of(graph: Path, threads: int) -> Any:
    """A CPU session with `threads` threads."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    return ort.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])


def features_of(
    files: list[str], graph: Path, threads: int, batch: int, resize: int, crop: int, one_session: bool = False
) -> npt.NDArray[np.float32]:
    """(files, width) features."""
    session = session_of(graph, threads if one_session else 1)
    parts = [files[start : start + batch] for start in range(0, len(files), batch)]

    def batch_of(part: list[str]) -> npt.NDArray[np.uint8]:
        return np.stack([prepared(file, resize, crop) for file in part])

    def embed(part: list[str]) -> npt.NDArray[np.float32]:
        rows: npt.NDArray[np.float32] = session.run(["embedding"], {"image": batch_of(part)})[0]
        return rows

    with ThreadPoolExecutor(threads) as pool:
        if not one_session:
            return np.concatenate(list(pool.map(embed, parts)))
        return np.concatenate([session.run(["embedding"], {"image": rows})[0] for rows in pool.map(batch_of, parts)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path)
    parser.add_argument("graph", type=Path)
    parser.add_argument("features", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--resize", type=int, default=256)
    parser.add_argument("--crop", type=int, default=224)
    parser.add_argument("--one-session", action="store_true", help="one session on all threads, decoding beside it")
    arguments = parser.parse_args()
    rows = features_of(
        arguments.files.read_text(encoding="utf-8").splitlines(),
        arguments.graph,
        arguments.threads,
        arguments.batch,
        arguments.resize,
        arguments.crop,
        arguments.one_session,
    )
    np.save(arguments.features, rows)


if __name__ == "__main__":
    main()
