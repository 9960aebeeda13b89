"""Feature rows by content, kept between runs in checksummed shards."""

from __future__ import annotations

import io
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tasks.digests import bytes_sha256, value_sha256
from tasks.preprocess import Preprocess
from tasks.reports.document import write_bytes
from tasks.stage import say

FloatMatrix = npt.NDArray[np.float32]


def rows_key(graph_sha256: str, preprocess: Preprocess, engine_sha256: str) -> str:
    """Names everything but the item's content that determines a feature row."""
    return value_sha256(
        {"graph": graph_sha256, "preprocess": preprocess.model_dump(mode="json"), "engine": engine_sha256}
    )[:24]


class FeatureCache:
    """Rows of one `rows_key`: item sha256 to (width,) float32.

    A shard's name holds the sha256 of its bytes; one that does not match is thrown away and computed anew.
    """

    def __init__(self, folder: Path, width: int) -> None:
        self.folder, self.width = folder, width

    def read_into(self, rows: FloatMatrix, items: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Fill the rows that are known.

        Args:
            rows: (len(items), width) float32, written in place.
            items: sha256 of each row's item; may repeat.
        Returns:
            (len(items),) bool, True where the row was filled.
        """
        known = np.zeros(len(items), dtype=np.bool_)
        places: dict[bytes, list[int]] = {}
        for place, item in enumerate(items):
            places.setdefault(bytes.fromhex(item), []).append(place)
        for names, values in self._shards():
            for name, value in zip(names, values, strict=True):
                for place in places.get(name, ()):
                    rows[place] = value
                    known[place] = True
        return known

    def append(self, items: Iterable[str], rows: FloatMatrix) -> None:
        """Keep new rows in a shard of their own; complete on disk or absent."""
        names = np.frombuffer(b"".join(bytes.fromhex(item) for item in items), dtype=np.uint8).reshape(-1, 32)
        buffer = io.BytesIO()
        np.savez(buffer, names=names, rows=rows)
        data = buffer.getvalue()
        write_bytes(self.folder / f"rows-{bytes_sha256(data)}.npz", data)

    def _shards(self) -> Iterator[tuple[list[bytes], FloatMatrix]]:
        for shard in sorted(self.folder.glob("rows-*.npz")):
            try:
                data = shard.read_bytes()
            except FileNotFoundError:
                continue  # another run shares the cache and threw it away
            if bytes_sha256(data) != shard.stem.removeprefix("rows-"):
                say(f"feature cache: {shard.name[:20]}... is damaged; its rows are computed anew")
                shard.unlink(missing_ok=True)
                continue
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                names, rows = arrays["names"], arrays["rows"]
            if rows.shape[1] == self.width:
                yield [name.tobytes() for name in names], rows


def shard_rows(width: int) -> int:
    """Rows of one shard: about 1 MiB of features, so that an interrupted run loses little."""
    return max(64, (1 << 20) // (4 * width))


def cache_folder(cache: Path, key: str) -> Path:
    """Where rows of one key lie."""
    return cache / "features" / key


def forget_rows(cache: Path, items: Collection[str]) -> int:
    """Take the rows of items (sha256) out of every shard of every key; returns how many rows there were.

    A shard without them is written before the old one is removed: interrupted, the next call finds the rest.
    """
    gone, removed = {bytes.fromhex(item) for item in items}, 0
    for shard in sorted((cache / "features").glob("*/rows-*.npz")):
        try:
            data = shard.read_bytes()
        except FileNotFoundError:
            continue  # another run shares the cache and threw it away
        if bytes_sha256(data) != shard.stem.removeprefix("rows-"):
            shard.unlink(missing_ok=True)  # damaged: what it holds cannot be told, and it would not be used
            continue
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            names, rows = arrays["names"], arrays["rows"]
        kept = np.array([name.tobytes() not in gone for name in names], dtype=np.bool_)
        if kept.all():
            continue
        if kept.any():
            FeatureCache(shard.parent, rows.shape[1]).append([name.tobytes().hex() for name in names[kept]], rows[kept])
        shard.unlink(missing_ok=True)
        removed += int((~kept).sum())
    return removed
