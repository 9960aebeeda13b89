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


class ValidationReport(Report):
    """No time and no run id: the same data give equal bytes."""

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

    @property
    def reasons(self) -> list[str]:
        """One sentence for each broken critical rule."""
        return [f"{rule.rule}: {rule.detail}" for rule in self.rules if rule.severity == "critical" and not rule.passed]
