"""The columns of scores, and how answers become a table of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tasks.batch_scoring.answers import Answers
from tasks.batch_scoring.entries import Entry

FloatMatrix = npt.NDArray[np.float32]

NUMBERS = pa.list_(pa.field("element", pa.float32()))
"""Named as Parquet names what is in a list: a part that is read back has the schema that it was written with."""


class ScoreColumns:
    """How scores of one release look.

    path: relative to the folder, or as the table has it. sha256: of the file. label: the table's own, where it has any.
    predicted, probability: the likeliest label and how likely it is. probabilities: of every label, in the release's
    order. abstained: the probability is below `serve.abstain_below`. error: why there is no answer; then all but path
    and label, and sha256 where it could be had, are null. embedding: where asked for.
    """

    def __init__(self, labels: Sequence[str], labelled: bool, embeddings: bool, abstain_below: float) -> None:
        self.labels = pa.array(list(labels), pa.string())
        self.abstain_below = abstain_below
        fields: list[tuple[str, Any]] = [("path", pa.string()), ("sha256", pa.string())]
        fields += [("label", pa.string())] if labelled else []
        fields += [
            ("predicted", pa.string()),
            ("probability", pa.float32()),
            ("probabilities", NUMBERS),
            ("abstained", pa.bool_()),
            ("error", pa.string()),
        ]
        fields += [("embedding", NUMBERS)] if embeddings else []
        self.schema = pa.schema(fields)

    def table(self, entries: Sequence[Entry], answers: Sequence[Answers]) -> pa.Table:
        """One row for each entry; `answers` of its pieces, one after the other."""
        counts = [len(piece.errors) for piece in answers]
        starts = np.cumsum([0, *counts])[:-1]
        answered = np.zeros(len(entries), dtype=np.bool_)
        for start, piece in zip(starts, answers, strict=True):
            answered[[start + place for place in piece.answered]] = True
        probabilities = np.concatenate([piece.probabilities for piece in answers])
        highest = probabilities.max(axis=1, initial=0.0)
        columns = {
            "path": pa.array([entry.path for entry in entries], pa.string()),
            "sha256": pa.array([value for piece in answers for value in piece.sha256], pa.string()),
            "label": pa.array([entry.label for entry in entries], pa.string()),
            "predicted": self.labels.take(_where(answered, probabilities.argmax(axis=1).astype(np.int32))),
            "probability": _where(answered, highest),
            "probabilities": _lists(answered, probabilities),
            "abstained": _where(answered, highest < self.abstain_below),
            "error": pa.array([value for piece in answers for value in piece.errors], pa.string()),
        }
        if "embedding" in self.schema.names:
            given = [piece.embeddings for piece in answers if piece.embeddings is not None]
            columns["embedding"] = _lists(answered, np.concatenate(given))
        return pa.table([columns[name] for name in self.schema.names], schema=self.schema)


def _where(answered: npt.NDArray[np.bool_], values: npt.NDArray[Any]) -> pa.Array:
    """(rows,) values, null where there is no answer."""
    spread = np.zeros(len(answered), dtype=values.dtype)
    spread[answered] = values
    return pa.array(spread, mask=~answered)


def _lists(answered: npt.NDArray[np.bool_], rows: FloatMatrix) -> pa.Array:
    """(rows,) lists of float32, null where there is no answer."""
    lengths = np.where(answered, rows.shape[1], 0)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    values = pa.array(np.ascontiguousarray(rows, dtype=np.float32).ravel(), pa.float32())
    return pa.ListArray.from_arrays(pa.array(offsets), values, type=NUMBERS, mask=pa.array(~answered))
