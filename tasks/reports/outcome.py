"""How a stage process ended, in its own words; never an out of DVC."""

from __future__ import annotations

from typing import ClassVar, Literal

from tasks.reports.document import Report


class Outcome(Report):
    """`failed` with `internal` is a defect of Graft or its libraries; without, the text is for the user."""

    produced_by: ClassVar[str] = ""

    stage: str
    run_id: str
    state: Literal["done", "refused", "failed"]
    reasons: list[str] = []
    internal: bool = False
