"""Two models on the same test items, and what gate makes of it."""

from __future__ import annotations

from typing import Literal

from tasks.params.champion import Outcome
from tasks.reports.document import Record
from tasks.reports.estimate import Estimate

Against = Literal["champion", "best"]
"""The model in production, or the most accurate one that ever was."""


class PairedCounts(Record):
    """Test items by who is right."""

    both: int
    only_challenger: int
    only_champion: int
    neither: int

    @property
    def items(self) -> int:
        return self.both + self.only_challenger + self.only_champion + self.neither


class PairedComparison(Record):
    """The new model and an earlier release on the same rows of the same test set.

    Attributes:
        incomparable: why the two cannot be compared; empty where they can. The figures are null then.
        unchanged: the release holds this very model.
        gain: accuracy of the new model - accuracy of the release; the interval is Tango's at evaluate.confidence.
        macro_f1_gain: likewise of macro-F1, by the paired bootstrap.
        mcnemar_p: exact one-sided p-value of the new model being better (McNemar).
    """

    against: Against
    version: int
    manifest_sha256: str
    incomparable: str = ""
    unchanged: bool = False
    counts: PairedCounts | None = None
    accuracy: float | None = None
    macro_f1: float | None = None
    gain: Estimate | None = None
    macro_f1_gain: Estimate | None = None
    mcnemar_p: float | None = None


class ChampionVerdict(Record):
    """What gate says of the comparison.

    Attributes:
        outcome: against the champion; `first` where nothing is in production.
        promotable: the verdict allows promotion (an equivalent one where promotion.equivalent says so, too).
        champion: manifest sha256 of the champion that it was judged against; null: none was pinned.
        version: the champion's.
        use: which judgement on this test set it is, from 1 on.
        alpha: one-sided level of this decision, after what earlier uses of the test set have spent.
        lower, upper: bounds of the accuracy gained at that level.
        items_to_settle: about how many more test items an inconclusive comparison would need; null where unknown.
        reasons: sentences for people, the outcome first.
    """

    outcome: Outcome
    promotable: bool
    champion: str | None = None
    version: int | None = None
    use: int = 1
    alpha: float | None = None
    lower: float | None = None
    upper: float | None = None
    items_to_settle: int | None = None
    reasons: list[str] = []
