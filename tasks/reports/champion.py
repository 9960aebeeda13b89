"""What a run's model is compared with, and how often its test set has judged before."""

from __future__ import annotations

from tasks.reports.document import Record, Report


class PinnedRelease(Record):
    """A published version, by content. `items_sha256` is of the table of what it learned from and was tested on."""

    version: int
    manifest_sha256: str
    items_sha256: str | None = None


class ChampionPin(Report):
    """data/champion.json, written before the first stage.

    Attributes:
        champion: what `prod` names; null: nothing is in production yet.
        best: the most accurate version that was ever promoted on this split's test items, where it is another one.
    """

    champion: PinnedRelease | None = None
    best: PinnedRelease | None = None


class TestUse(Report):
    """data/test_use.json, written before evaluate shows any figure.

    Attributes:
        test_set: sha256 of the test items and their labels; null before the first evaluation.
        model: sha256 of models/adapted/, the model that is judged.
        champion: manifest sha256 of the release that it is judged against; null: nothing is in production.
        use: which judgement on this test set it is, from 1 on, with those on earlier test sets that held half of its
            items or more; the same model against the same champion keeps its place.
    """

    __test__ = False

    test_set: str | None = None
    model: str | None = None
    champion: str | None = None
    use: int = 1
