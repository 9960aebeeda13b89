"""What is kept of a captured request, and its columns; pyarrow is imported where a table is made, never before."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from tasks.digests import bytes_sha256

Content = Literal["scores", "embeddings", "inputs"]
SCHEMA_VERSION = 1
ROW_BYTES = 512
"""What a row costs in memory beside its image and its figures; an estimate, for the bound."""


@dataclass(frozen=True)
class Release:
    """Who answered; kept in place of the model, so that a row in the queue holds no session in memory."""

    name: str
    version: str
    digest: str
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Captured:
    """One answered image.

    Attributes:
        time: when it was answered, UTC.
        data: its encoded bytes; None where prepared pixels were sent, and from `hashed` on where they are not kept.
        probabilities: (classes,) float32.
        embedding: (width,) float32; None where it is not kept.
    """

    time: datetime
    request_id: str
    release: Release
    data: bytes | None
    probabilities: npt.NDArray[np.float32]
    embedding: npt.NDArray[np.float32] | None
    image_sha256: str | None = None

    def hashed(self, content: Content) -> Captured:
        """With the image's sha256, and without its bytes unless they are to be kept; costs time, so in the writer."""
        found = None if self.data is None else bytes_sha256(self.data)
        return replace(self, image_sha256=found, data=self.data if content == "inputs" else None)

    @property
    def size(self) -> int:
        """Bytes that it holds in memory, about."""
        embedding = 0 if self.embedding is None else self.embedding.nbytes
        return len(self.data or b"") + self.probabilities.nbytes + embedding + ROW_BYTES


def capture_schema(release: Release, content: Content) -> Any:
    """The pyarrow schema of a file; its metadata name the schema's version, the content, the release and its labels."""
    import pyarrow as pa

    columns = [
        ("time", pa.timestamp("us", tz="UTC")),
        ("request_id", pa.string()),
        ("model", pa.string()),
        ("version", pa.string()),
        ("digest", pa.string()),
        ("label", pa.string()),
        ("probability", pa.float32()),
        ("probabilities", pa.list_(pa.float32())),
        ("abstained", pa.bool_()),
        ("image_sha256", pa.string()),
    ]
    if content != "scores":
        columns.append(("embedding", pa.list_(pa.float32())))
    if content == "inputs":
        columns.append(("image", pa.binary()))
    metadata = {
        "graft.capture.schema_version": str(SCHEMA_VERSION),
        "graft.capture.content": content,
        "graft.model": release.name,
        "graft.version": release.version,
        "graft.digest": release.digest,
        "graft.labels": json.dumps(release.labels),
    }
    nullable = {"image_sha256", "image"}
    return pa.schema([pa.field(name, kind, name in nullable) for name, kind in columns], metadata)


def capture_table(rows: Sequence[Captured], content: Content, abstain_below: float) -> Any:
    """Rows of one release, `hashed`, as a pyarrow table of `capture_schema`."""
    import pyarrow as pa

    release = rows[0].release
    probabilities = np.stack([row.probabilities for row in rows])
    best = probabilities.argmax(axis=1)
    highest = probabilities[np.arange(len(rows)), best]
    columns: dict[str, Any] = {
        "time": [row.time for row in rows],
        "request_id": [row.request_id.encode(errors="replace").decode() for row in rows],
        "model": [release.name] * len(rows),
        "version": [release.version] * len(rows),
        "digest": [release.digest] * len(rows),
        "label": [release.labels[place] for place in best],
        "probability": highest,
        "probabilities": _lists(probabilities),
        "abstained": highest < abstain_below,
        "image_sha256": [row.image_sha256 for row in rows],
        "image": [row.data for row in rows],
    }
    if content != "scores":
        columns["embedding"] = _lists(np.stack([row.embedding for row in rows if row.embedding is not None]))
    schema = capture_schema(release, content)
    return pa.table({name: pa.array(columns[name], schema.field(name).type) for name in schema.names}, schema)


def _lists(matrix: npt.NDArray[np.float32]) -> Any:
    """(n, width) as n lists, without a Python object for each figure."""
    import pyarrow as pa

    count, width = matrix.shape
    offsets = np.arange(0, count * width + 1, width, dtype=np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(np.ascontiguousarray(matrix).reshape(-1)))
