"""The batches of an epoch: a function of seed, epoch and the items' identities, with no state."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from tasks.metrics import IntVector
from tasks.params.training import TrainingParams

SMALLEST_BATCH = 2
"""Batch norm cannot learn from one item."""


class Batches:
    """Items in the order of a hash of (seed, epoch, identity); so a further item leaves the others' order as it is."""

    def __init__(
        self, identities: Sequence[str], labels: IntVector, learn: IntVector, settings: TrainingParams, smallest: int
    ) -> None:
        """
        Args:
            identities: sha256 of every item.
            labels: class of every item.
            learn: rows of the items that are learned from.
            smallest: a smaller last batch is joined with the one before.
        """
        self._rows = learn
        self._labels = labels[learn]
        self._words = np.array([_word(identities[row]) for row in learn], dtype=np.uint64)
        self._settings = settings
        self._smallest = smallest

    @property
    def count(self) -> int:
        """Steps of an epoch."""
        return len(self._cuts()) + 1

    def of_epoch(self, epoch: int) -> list[IntVector]:
        """Rows of each step. `class_balance: sampled` draws as many items as there are, each class equally often."""
        sampled = self._settings.class_balance == "sampled"
        drawn = self._draw(epoch) if sampled else np.arange(len(self._rows))
        turn = _turns(drawn)
        order = np.lexsort((drawn, self._hashes(epoch, drawn, turn, "order")))
        return [self._rows[part] for part in np.split(drawn[order], self._cuts())]

    def _cuts(self) -> list[int]:
        size, count = self._settings.batch_size, len(self._rows)
        cuts = list(range(size, count, size))
        return cuts[:-1] if cuts and count - cuts[-1] < self._smallest else cuts

    def _draw(self, epoch: int) -> IntVector:
        """Every class's items in turn, in an order of their own for each turn, until the class has its share."""
        classes = np.unique(self._labels)
        shares = np.full(len(classes), len(self._rows) // len(classes))
        # The remainder goes to other classes in every epoch.
        shares[(np.arange(len(self._rows) % len(classes)) + epoch) % len(classes)] += 1
        drawn: list[IntVector] = []
        for label, share in zip(classes, shares, strict=True):
            members = np.flatnonzero(self._labels == label)
            turns = np.repeat(np.arange(-(-int(share) // len(members))), len(members))
            repeated = np.resize(members, len(turns))
            order = np.lexsort((repeated, self._hashes(epoch, repeated, turns, "draw"), turns))
            drawn.append(repeated[order][: int(share)])
        return np.concatenate(drawn)

    def _hashes(self, epoch: int, items: IntVector, turns: IntVector, purpose: str) -> np.typing.NDArray[np.uint64]:
        salt = np.uint64(_word(f"{purpose} {self._settings.seed} {epoch}"))
        return _mixed(_mixed(self._words[items] ^ salt) + turns.astype(np.uint64))


def _turns(drawn: IntVector) -> IntVector:
    """How often the same item was drawn before, for each draw."""
    order = np.argsort(drawn, kind="stable")
    starts = np.concatenate([[True], drawn[order][1:] != drawn[order][:-1]])
    first = np.maximum.accumulate(np.where(starts, np.arange(len(drawn)), 0))
    turns = np.empty(len(drawn), dtype=np.int64)
    turns[order] = np.arange(len(drawn)) - first
    return turns


def _word(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")


def _mixed(words: np.typing.NDArray[np.uint64]) -> np.typing.NDArray[np.uint64]:
    """Source: the finaliser of SplitMix64 (Steele, Lea and Flood 2014)."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))
