"""A measured value."""

from __future__ import annotations

from tasks.reports.document import Record


class Estimate(Record):
    """A value with its confidence interval; `method` names how the interval was made."""

    value: float
    low: float
    high: float
    method: str
