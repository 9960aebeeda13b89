"""What qualify found in the release itself; it names the manifest's sha256."""

from __future__ import annotations

from typing import ClassVar

from tasks.reports.document import Record, Report


class Check(Record):
    """One check of the release, with what was seen."""

    check: str
    passed: bool
    detail: str


class Qualification(Report):
    produced_by: ClassVar[str] = "qualify"

    passed: bool
    manifest_sha256: str
    checks: list[Check]

    @property
    def reasons(self) -> list[str]:
        """One sentence for each failed check."""
        return [f"{check.check}: {check.detail}" for check in self.checks if not check.passed]
