"""The embedded sample: scikit-learn's 1,797 scans of handwritten digits as a folder of PNGs per class.

train/ holds the few labelled images, test/ the rest. All scans differ, so no content stands on both sides.
"""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from tasks.digests import folder_sha256
from tasks.reports.document import replacing

SAMPLE_VERSION = 1
"""Raised when the same settings would write other files."""

INK = 16
"""The scans count inked pixels of 4x4 blocks: 0 is bare paper, 16 is full ink."""

UInt8Scans = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]


def read_scans() -> tuple[UInt8Scans, Labels]:
    """The scans as grey images, ink bright on black.

    Returns:
        (1797, 8, 8) grey values 0..255 and (1797,) digits 0..9, in scikit-learn's order.
    Source: scikit-learn load_digits (UCI "Optical Recognition of Handwritten Digits", test part).
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    grey = np.rint(digits.images * (255.0 / INK)).astype(np.uint8)
    return grey, digits.target.astype(np.int64)


def draw_labelled(labels: Labels, labels_per_class: int, seed: int) -> npt.NDArray[np.int64]:
    """Sorted indices of the labelled images: `labels_per_class` of every class, drawn without replacement.

    A larger `labels_per_class` with the same seed keeps the images of the smaller one.

    Raises:
        ValueError: a class has no image left for the test side.
    """
    generator = np.random.default_rng(seed)
    chosen: list[npt.NDArray[np.int64]] = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        if not 0 < labels_per_class < len(members):
            raise ValueError(f"labels_per_class {labels_per_class} is not within 1..{len(members) - 1}")
        chosen.append(generator.permutation(members)[:labels_per_class])
    return np.sort(np.concatenate(chosen))


def write_sample(folder: Path, labels_per_class: int, seed: int) -> None:
    """Write train/DIGIT/INDEX.png and test/DIGIT/INDEX.png below `folder`, in place of what stood there.

    The files are bit-identical for the same settings. `folder` is complete or absent at any moment; a marker
    beside it (`.NAME.json`) says what it was made with.

    Raises:
        ValueError: as `draw_labelled`.
    """
    scans, labels = read_scans()
    labelled = set(draw_labelled(labels, labels_per_class, seed).tolist())
    draft, former = folder.with_name(f".{folder.name}.draft"), folder.with_name(f".{folder.name}.former")
    for leftover in (draft, former):
        shutil.rmtree(leftover, ignore_errors=True)
    for index, (scan, label) in enumerate(zip(scans, labels, strict=True)):
        path = draft / ("train" if index in labelled else "test") / str(label) / f"{index:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_png(scan))
    digest = folder_sha256(draft)
    if folder.exists():
        folder.rename(former)
    draft.rename(folder)
    shutil.rmtree(former, ignore_errors=True)
    with replacing(_marker(folder)) as marker:
        marker.write_text(json.dumps(_made_with(labels_per_class, seed, digest), indent=2) + "\n")


def sample_is_current(folder: Path, labels_per_class: int, seed: int) -> bool:
    """Whether `folder` holds exactly what `write_sample` with these settings would write."""
    try:
        marked = json.loads(_marker(folder).read_text())
    except (OSError, ValueError):
        return False
    return folder.is_dir() and bool(marked == _made_with(labels_per_class, seed, folder_sha256(folder)))


def encode_png(scan: UInt8Scans) -> bytes:
    """One grey scan as PNG bytes; stored uncompressed, so that every zlib gives the same bytes."""
    buffer = io.BytesIO()
    Image.fromarray(scan).save(buffer, format="PNG", compress_level=0)
    return buffer.getvalue()


def _marker(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.json")


def _made_with(labels_per_class: int, seed: int, digest: str) -> dict[str, int | str]:
    return {
        "sample_version": SAMPLE_VERSION,
        "labels_per_class": labels_per_class,
        "seed": seed,
        "folder_sha256": digest,
    }
