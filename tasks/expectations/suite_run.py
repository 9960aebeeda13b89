"""Great Expectations as a library: a suite over a data frame, without files, output or telemetry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import great_expectations as gx
import pandas as pd
from great_expectations.data_context.types.base import ProgressBarsConfig
from great_expectations.expectations.expectation import Expectation

_INDEX = "graft_index"


@dataclass(frozen=True)
class Finding:
    """What one expectation found. `failing` holds the path and the judged values of every failing item."""

    success: bool
    severity: str
    failing: list[dict[str, Any]]
    observed: Any
    error: str | None


def run_expectations(frame: pd.DataFrame, expectations: Sequence[Expectation], name_failing: bool) -> list[Finding]:
    """Run expectations over `frame`, whose column `path` names the rows; findings in the given order.

    Args:
        name_failing: whether findings list the failing rows: all of them, not Great Expectations' usual sample of 20.
            Without it they hold the judgement alone, in less time and memory.
    """
    for index, expectation in enumerate(expectations):
        expectation.meta = {**(expectation.meta or {}), _INDEX: index}
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    asset = context.data_sources.add_or_update_pandas("items").add_dataframe_asset("items")
    batch = asset.add_batch_definition_whole_dataframe("all").get_batch(batch_parameters={"dataframe": frame})
    suite = gx.ExpectationSuite(name="items", expectations=list(expectations))
    complete = {"result_format": "COMPLETE", "unexpected_index_column_names": ["path"]}
    result = batch.validate(suite, result_format=complete if name_failing else "BOOLEAN_ONLY")
    return [_finding(one) for one in sorted(result.results, key=_index)]


def _index(result: Any) -> int:
    """Results come in an order of their own."""
    return int(result.expectation_config.meta[_INDEX])


def _finding(result: Any) -> Finding:
    return Finding(
        success=bool(result.success),
        severity=str(result.expectation_config.severity.value),
        failing=list(result.result.get("unexpected_index_list") or []),
        observed=result.result.get("observed_value"),
        error=_exception(result.exception_info),
    )


def _exception(info: Any) -> str | None:
    """The message of the first exception in a result; its shape depends on where it was raised."""
    if not isinstance(info, dict):
        return None
    if info.get("raised_exception"):
        return " ".join(str(info.get("exception_message")).split())
    nested = [message for part in info.values() if (message := _exception(part))]
    return nested[0] if nested else None
