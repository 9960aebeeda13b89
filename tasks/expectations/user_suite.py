"""The user's own suite file (params.validate.suite), run beside ours."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from great_expectations.exceptions.exceptions import ExpectationNotFoundError, GreatExpectationsError
from great_expectations.expectations.expectation import Expectation
from great_expectations.expectations.expectation_configuration import ExpectationConfiguration
from great_expectations.expectations.registry import list_registered_expectation_implementations

from tasks.errors import ParamsError, did_you_mean
from tasks.expectations.suite_run import Finding
from tasks.reports import FailingItem, RuleResult

KEY = "params.yaml: validate.suite"


@dataclass(frozen=True)
class UserRule:
    """One expectation of the suite file, with the name that it has in the report."""

    name: str
    expectation: Expectation

    def result(self, finding: Finding, columns: Sequence[str], total: int) -> RuleResult:
        """The rule's line in the report; severity as the suite says (info counts as warning).

        Raises:
            ParamsError: the expectation could not be evaluated.
        """
        if finding.error:
            known = ", ".join(sorted(columns))
            raise ParamsError(f"{self.name} cannot be evaluated: {finding.error} ({KEY}; the columns are {known})")
        failing = [FailingItem(path=str(row["path"]), reason=_values(row)) for row in finding.failing]
        judged = f"{len(failing)} of {total} items fail" if finding.observed is None else f"observed {finding.observed}"
        return RuleResult(
            rule=self.name,
            severity="critical" if finding.severity == "critical" else "warning",
            passed=finding.success,
            detail=f"{judged} ({KEY})",
            failing=sorted(failing, key=lambda item: item.path),
        )


def read_user_suite(path: Path) -> list[UserRule]:
    """Read a suite as Great Expectations 1.x writes it (`ExpectationSuite.to_json_dict()`).

    Raises:
        ParamsError: the file is missing, no JSON, no suite, or holds an unknown or wrongly configured expectation.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as err:
        raise ParamsError(f"{path} cannot be read ({err.strerror}) ({KEY})") from err
    except ValueError as err:
        raise ParamsError(f"{path} is not readable as JSON: {err} ({KEY})") from err
    entries = document.get("expectations") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise ParamsError(f"{path} holds no list `expectations`; write it with ExpectationSuite.to_json_dict() ({KEY})")
    return [_user_rule(path, number, entry) for number, entry in enumerate(entries)]


def _user_rule(path: Path, number: int, entry: Any) -> UserRule:
    place = f"{path}: expectations[{number}]"
    if not isinstance(entry, dict) or not isinstance(entry.get("type"), str):
        raise ParamsError(f"{place} has no `type` ({KEY})")
    try:
        expectation = ExpectationConfiguration(**entry).to_domain_obj()
    except ExpectationNotFoundError as err:
        hint = did_you_mean(entry["type"], list_registered_expectation_implementations())
        raise ParamsError(f"{place}: unknown expectation {entry['type']!r}{hint} ({KEY})") from err
    except (GreatExpectationsError, TypeError, ValueError, AttributeError) as err:
        raise ParamsError(f"{place} ({entry['type']}) is not valid: {' '.join(str(err).split())} ({KEY})") from err
    columns = [value for key, value in sorted(entry.get("kwargs", {}).items()) if key.startswith("column")]
    return UserRule(f"{path.stem}[{number}] {entry['type']}({', '.join(map(str, columns))})", expectation)


def _values(row: dict[str, Any]) -> str:
    values = [f"{name} = {value}" for name, value in sorted(row.items()) if name != "path"]
    return ", ".join(values) or "fails"
