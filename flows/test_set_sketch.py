"""Which items a test set held, small enough to be kept for each one: the smallest of its contents' digests.

Digests are uniform, so the smallest of one set and of another are a fair sample of what both hold (bottom-k sketch).
Up to 1,024 items the answer is exact; above, its standard error is about 2% between sets of like size.

Source: Cohen and Kaplan, Summarizing data using bottom-k sketches, PODC 2007.
"""

from __future__ import annotations

from collections.abc import Iterable

from tasks.workspace import Workspace

MOST = 1024
WIDTH = 8
"""Bytes kept of each sha256."""


def sketch_path(test_set: str) -> str:
    """Where the state keeps the sketch of a test set."""
    return f"test_sets/{test_set}"


def sketch(workspace: Workspace) -> bytes:
    """Of the test items that data/splits.parquet names.

    Raises:
        StageInputError: it cannot be read.
    """
    from tasks.tables import SPLITS, read_table

    table = read_table(workspace.splits, SPLITS)
    pairs = zip(table["sha256"].to_pylist(), table["side"].to_pylist(), strict=True)
    return sketch_of(sha256 for sha256, side in pairs if side == "test")


def sketch_of(contents: Iterable[str]) -> bytes:
    """The smallest distinct digests (hex sha256), cut to 8 bytes each, in order."""
    return b"".join(sorted({bytes.fromhex(content)[:WIDTH] for content in contents})[:MOST])


def overlap(own: bytes, other: bytes) -> float:
    """The share of one set's items that the other held; 0 of an empty set.

    >>> one, other = sketch_of(["aa" * 32, "bb" * 32]), sketch_of(["bb" * 32, "cc" * 32, "dd" * 32])
    >>> overlap(one, other), overlap(other, one)
    (0.5, 0.3333333333333333)
    """
    ours, theirs = _digests(own), _digests(other)
    # Beyond the last digest of a full sketch nothing is known of its set.
    limits = [digests[-1] for digests in (ours, theirs) if len(digests) == MOST]
    within = [digest for digest in ours if not limits or digest <= min(limits)]
    return len(set(within) & set(theirs)) / len(within) if within else 0.0


def _digests(sketched: bytes) -> list[bytes]:
    return [sketched[place : place + WIDTH] for place in range(0, len(sketched), WIDTH)]
