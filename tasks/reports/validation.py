"""What validate found in the raw data."""

from __future__ import annotations

from typing import ClassVar, Literal

from tasks.reports.document import Record, Report


class FailingItem(Record):
    """One item that broke a rule."""

    path: str
    reason: str


class RuleResult(Record):
    """One expectation on the item table. `failing` names every item, not a sample."""

    rule: str
    severity: Literal["critical", "warning"]
    passed: bool
    detail: str
    failing: list[FailingItem] = []


class AppliedCorrection(Record):
    """A person's correction that changed `items` items: from `was` to `label` (null: left out), by whom and why."""

    sha256: str
    path: str
    was: str
    label: str | None
    who: str
    why: str
    items: int


class UsedAlias(Record):
    """`items` raw items of the class `old` count as `new` (params.yaml: data.label_aliases)."""

    old: str
    new: str
    items: int


class OverlayReport(Record):
    """What people decided on top of the raw data, as it met them.

    `confirmed`: rows in which a person says that the label is right as it stands; `corrections_without_content`: their
    items are not there; `corrections_without_effect`: the raw label was mended since, or the correction no longer
    matches (rule corrections_match names those); `forgotten`: items kept out by a tombstone, which are counted nowhere
    else.
    """

    aliased: list[UsedAlias] = []
    corrected: list[AppliedCorrection] = []
    confirmed: int = 0
    corrections_without_content: int = 0
    corrections_without_effect: int = 0
    left_out: list[FailingItem] = []
    forgotten: int = 0


class ValidationReport(Report):
    """No time and no run id: the same data give equal bytes. Listed = accepted + quarantined + left out by people."""

    produced_by: ClassVar[str] = "validate"

    passed: bool
    data_digest: str
    layout: str
    listed: int
    accepted: int
    ignored: int
    ignored_files: list[str]
    quarantined: list[FailingItem]
    labels: list[str]
    items_per_label: dict[str, int]
    rules: list[RuleResult]
    overlay: OverlayReport = OverlayReport()

    @property
    def reasons(self) -> list[str]:
        """One sentence for each broken critical rule."""
        return [f"{rule.rule}: {rule.detail}" for rule in self.rules if rule.severity == "critical" and not rule.passed]
