"""Near-duplicate pairs of the data page: side by side, with labels and sides, the most telling first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from tasks.plots.item_rows import Fact
from tasks.reports import SplitReport

MOST_PAIRS = 36


@dataclass(frozen=True)
class PairEnd:
    """One image of a pair; `side` is "" where no split was made."""

    path: str
    label: str | None
    side: str


@dataclass(frozen=True)
class PairRow:
    """Two images that both measures call one picture: `hamming` of 64 bits, `cosine` of embeddings in [-1, 1]."""

    first: PairEnd
    second: PairEnd
    hamming: int
    cosine: float

    @property
    def labels_differ(self) -> bool:
        return self.first.label != self.second.label

    @property
    def sides_differ(self) -> bool:
        return self.first.side != self.second.side


@dataclass(frozen=True)
class PairRows:
    """The pairs that are shown, of `total`, of which `conflicting` have two labels and `leaking` two sides."""

    shown: list[PairRow]
    total: int
    conflicting: int
    leaking: int


def pair_paths(split: SplitReport | None) -> list[str]:
    """Every path that a near-duplicate pair names."""
    pairs = split.near_duplicates if split else []
    return [path for pair in pairs for path in (pair.first, pair.second)]


def sides_of(splits: pa.Table, paths: list[str]) -> dict[str, str]:
    """The side of each named item."""
    found = splits.filter(pc.is_in(splits["path"], value_set=pa.array(sorted(set(paths)), pa.string())))
    return dict(zip(found["path"].to_pylist(), found["side"].to_pylist(), strict=True))


def pair_rows(split: SplitReport, facts: Mapping[str, Fact], sides: Mapping[str, str]) -> PairRows:
    """Pairs with two labels first, then those on two sides, then the closest."""

    def end(path: str) -> PairEnd:
        fact = facts.get(path)
        return PairEnd(path, fact.label if fact else None, sides.get(path, "").replace("_", " "))

    rows = [PairRow(end(pair.first), end(pair.second), pair.hamming, pair.cosine) for pair in split.near_duplicates]
    rows.sort(key=lambda row: (not row.labels_differ, not row.sides_differ, -row.cosine, row.first.path))
    conflicting, leaking = sum(row.labels_differ for row in rows), sum(row.sides_differ for row in rows)
    return PairRows(rows[:MOST_PAIRS], len(rows), conflicting, leaking)
