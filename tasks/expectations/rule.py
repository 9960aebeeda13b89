"""What a rule of our own suite is: an expectation, and the query that names every item that fails it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd
from great_expectations.expectations.expectation import Expectation

from tasks.expectations.suite_run import Finding
from tasks.reports import FailingItem, RuleResult

Query = Callable[[pd.DataFrame], list[FailingItem]]


@dataclass(frozen=True)
class Rule:
    """One expectation on the item frame.

    `query` names what fails it; `says` and `limit` complete the report's sentence "3 of 200 items SAYS; LIMIT". A rule
    on the classes as a whole says the sentence's first half itself, since no single item is at fault. A rule with a
    tolerated share passes up to it and still names what fails.
    """

    name: str
    severity: Literal["critical", "warning"]
    expectation: Expectation
    query: Query
    says: str | Callable[[pd.DataFrame], str]
    limit: str

    @property
    def column(self) -> str:
        """The column of the frame that is judged."""
        return str(vars(self.expectation)["column"])

    def result(self, frame: pd.DataFrame, finding: Finding) -> RuleResult:
        """The rule's line in the report: Great Expectations' judgement, value, limit and every failing item."""
        if finding.error:
            raise RuntimeError(f"rule {self.name} could not be evaluated: {finding.error}")
        failing = self.query(frame)
        share = f"{len(failing)} of {len(frame)} items ({len(failing) / len(frame):.1%})"
        found = f"{share} {self.says}" if isinstance(self.says, str) else self.says(frame)
        return RuleResult(
            rule=self.name,
            severity=self.severity,
            passed=finding.success,
            detail=f"{found}; {self.limit}",
            failing=failing,
        )


def rows(fails: Callable[[pd.DataFrame], pd.Series], reason: Callable[[Any], str]) -> Query:
    """A query from a mask over the frame and a sentence about one failing row."""
    return lambda frame: [
        FailingItem(path=row.path, reason=reason(row)) for row in frame[fails(frame)].itertuples(index=False)
    ]


def mostly(share: float) -> float:
    """The share that must pass; rounded, since 1 - 0.7 is not 0.3 in binary."""
    return round(1.0 - share, 9)


def tolerated(share: float, key: str) -> str:
    """The limit's wording for a tolerated share."""
    return f"at most {share:.1%} are tolerated (params.yaml: validate.{key})"
