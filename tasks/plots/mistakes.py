"""The test items that were predicted wrongly, the most confident first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.tables import PREDICTIONS, read_table

MOST_MISTAKES = 24


@dataclass(frozen=True)
class Mistake:
    """One wrong prediction; both probabilities are ratios in [0, 1]."""

    path: str
    sha256: str
    label: str
    predicted: str
    probability: float
    label_probability: float


@dataclass(frozen=True)
class Mistakes:
    """How many predictions are wrong, and the most confident of them."""

    total: int
    shown: list[Mistake]


def read_mistakes(path: Path, labels: Sequence[str], most: int = MOST_MISTAKES) -> Mistakes:
    """The `most` most confident mistakes; ties stand in order of path.

    Args:
        path: predictions.parquet.
        labels: class names in the order of the probabilities.
    Raises:
        StageInputError: the table is missing, unreadable or has other columns.
    """
    import pyarrow.compute as pc

    table = read_table(path, PREDICTIONS)
    wrong = table.filter(pc.not_equal(table["label"], table["predicted"]))
    surest = wrong.sort_by([("probability", "descending"), ("path", "ascending")]).slice(0, most)
    column = {label: index for index, label in enumerate(labels)}
    shown = [
        Mistake(
            path=row["path"],
            sha256=row["sha256"],
            label=row["label"],
            predicted=row["predicted"],
            probability=row["probability"],
            label_probability=row["probabilities"][column[row["label"]]],
        )
        for row in surest.to_pylist()
    ]
    return Mistakes(total=wrong.num_rows, shown=shown)
