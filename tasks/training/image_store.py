"""Decoded images by content, kept between epochs and runs in one file a few dozen megabytes long each."""

from __future__ import annotations

import json
import os
import threading
import zlib
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tasks.backbones.engine import installed_engine
from tasks.digests import bytes_sha256, value_sha256
from tasks.errors import counted
from tasks.preprocess import Preprocess, UInt8Image
from tasks.reports.document import write_bytes
from tasks.stage import say
from tasks.training.activation_folders import make_room
from tasks.training.sources import sources_sha256

STORE_VERSION = 1
"""Raised when the same file would leave other pixels here, but for a change of SOURCES."""
SOURCES = ("training/pixels.py", "preprocess.py", "decoding.py")
"""The code that the pixels depend on, below `tasks`."""
SHARD_BYTES = 32 << 20
"""Of a file; what an interrupted run has to decode again at most, and what waits in memory to be written."""
MOST_BYTES = 4 * 10**9


@dataclass(frozen=True)
class _Place:
    file: Path
    offset: int
    height: int
    width: int
    crc32: int

    @property
    def bytes(self) -> int:
        return self.height * self.width * 3


class ImageStore:
    """Images of one preprocessing: item sha256 to (height, width, 3) uint8.

    `images-X.bin` holds the pixels, `images-X.json` says where each lies and its CRC-32; X is the sha256 of that index,
    which is written last. Pixels are checked each time they are read: what is damaged is as if it had never been kept.
    """

    def __init__(self, folder: Path, most_bytes: int = MOST_BYTES) -> None:
        """
        Args:
            most_bytes: what the folder may hold; images beyond it are not kept.
        """
        self.folder, self._most = folder, most_bytes
        self._places: dict[str, _Place] = {}
        self._waiting: dict[str, UInt8Image] = {}
        self._lock = threading.Lock()
        self._bytes = self._waiting_bytes = 0
        for index in sorted(folder.glob("images-*.json")):
            self._read_index(index)

    @classmethod
    def under(cls, parent: Path, preprocess: Preprocess, most_bytes: int = MOST_BYTES) -> ImageStore:
        """The store for images of this preprocessing, decoded by the libraries that are installed.

        Stores of others are removed, the one written longest ago first, where all together hold more than `most_bytes`.
        """
        store = cls(parent / store_key(preprocess), most_bytes)
        make_room(parent, store.folder.name, most_bytes - store._bytes)
        return store

    def get(self, content: str) -> UInt8Image | None:
        """The image of an item, (height, width, 3) uint8, read-only; None where it is not kept or damaged."""
        with self._lock:
            waiting, place = self._waiting.get(content), self._places.get(content)
        if waiting is not None or place is None:
            return waiting
        data = _read(place)
        if len(data) == place.bytes and zlib.crc32(data) == place.crc32:
            return np.frombuffer(data, dtype=np.uint8).reshape(place.height, place.width, 3)
        self._drop(place.file)
        return None

    def put(self, content: str, image: UInt8Image) -> None:
        """Keep an image, if there is room; on disk at the latest when `flush` returns."""
        with self._lock:
            if content in self._places or content in self._waiting or self._bytes + image.nbytes > self._most:
                return
            self._waiting[content] = image
            self._bytes += image.nbytes
            self._waiting_bytes += image.nbytes
            if self._waiting_bytes >= SHARD_BYTES:
                self._write()

    def flush(self) -> None:
        """Write what waits in memory."""
        with self._lock:
            if self._waiting:
                self._write()

    def _write(self) -> None:
        """Write what waits; where the disk takes no more, nothing is kept from then on, and a line says so."""
        try:
            self._write_shard()
        except OSError as err:
            say(
                f"training: decoded images cannot be kept in {self.folder} ({err.strerror}); they are decoded in "
                "every epoch",
                "warning",
            )
            self._most = 0
            self._bytes -= self._waiting_bytes
        self._waiting, self._waiting_bytes = {}, 0

    def _write_shard(self) -> None:
        rows, offset = [], 0
        for content, image in self._waiting.items():
            rows.append([content, offset, *image.shape[:2], zlib.crc32(image.tobytes())])
            offset += image.nbytes
        index = json.dumps(rows).encode()
        name = f"images-{bytes_sha256(index)}"
        write_bytes(self.folder / f"{name}.bin", b"".join(image.tobytes() for image in self._waiting.values()))
        write_bytes(self.folder / f"{name}.json", index)
        self._places.update({row[0]: _Place(self.folder / f"{name}.bin", *row[1:]) for row in rows})

    def _drop(self, pixels: Path) -> None:
        """Take a file out of the store as a whole, so that its images are kept anew and nothing is there twice."""
        with self._lock:
            held = [content for content, place in self._places.items() if place.file == pixels]
            if not held:
                return  # another thread came upon it before
            say(f"training: {pixels.name[:20]}... is damaged; its {counted(len(held), 'image')} will be decoded again")
            self._bytes -= sum(self._places.pop(content).bytes for content in held)
            _remove(pixels)

    def _read_index(self, index: Path) -> None:
        pixels = index.with_suffix(".bin")
        try:
            data = index.read_bytes()
        except OSError:
            return  # another run shares the store and threw it away, or it may not be read
        if bytes_sha256(data) != index.stem.removeprefix("images-") or not pixels.is_file():
            say(f"training: {index.name[:20]}... is damaged; its images will be decoded again")
            _remove(pixels)
            return
        self._places.update({row[0]: _Place(pixels, *row[1:]) for row in json.loads(data)})
        self._bytes += pixels.stat().st_size


def _remove(pixels: Path) -> None:
    """A file and its index, the index first; where the disk may only be read they stay, and are found damaged again."""
    with suppress(OSError):
        pixels.with_suffix(".json").unlink(missing_ok=True)
        pixels.unlink(missing_ok=True)


def _read(place: _Place) -> bytes:
    try:
        with place.file.open("rb") as file:
            return os.pread(file.fileno(), place.bytes, place.offset)
    except OSError:
        return b""


def store_key(preprocess: Preprocess) -> str:
    """Names the store of images of this preprocessing, decoded by the libraries that are installed."""
    engine = installed_engine().model_dump(mode="json", include={"pillow", "codecs"})
    code = sources_sha256(*SOURCES)
    key = {"version": STORE_VERSION, "code": code, "preprocess": preprocess.model_dump(mode="json"), "engine": engine}
    return value_sha256(key)[:24]


def forget_images(parent: Path, items: Collection[str]) -> int:
    """Remove every file of every store below `parent` that holds one of the items (sha256), neighbours included.

    Returns:
        how many images of the items there were. The neighbours are decoded again when they are next needed.
    """
    found, gone = 0, frozenset(items)
    for pixels in sorted(parent.glob("*/images-*.bin")):
        index = pixels.with_suffix(".json")
        try:
            held = {row[0] for row in json.loads(index.read_bytes())} & gone
        except (OSError, ValueError):
            held = None  # unreadable: what it holds cannot be told
        if held is None or held:
            pixels.unlink(missing_ok=True)
            index.unlink(missing_ok=True)
            found += len(held or ())
    return found
