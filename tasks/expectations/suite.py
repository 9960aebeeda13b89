"""Judges the item table: our own suite and the user's, by Great Expectations."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from tasks.expectations.image_rules import image_rules
from tasks.expectations.label_rules import label_rules
from tasks.expectations.suite_run import run_expectations
from tasks.expectations.user_suite import read_user_suite
from tasks.params import ValidateParams
from tasks.reports import RuleResult


def judge(frame: pd.DataFrame, params: ValidateParams, labelled: bool, user_suite: Path | None) -> list[RuleResult]:
    """Every rule's result over the item frame, ours first.

    Args:
        frame: as `tasks.expectations.item_frame` makes it, with at least one row.
        labelled: whether rules on labels apply.
        user_suite: a suite file that is run beside ours.
    Raises:
        ParamsError: the suite file is broken or asks for what cannot be evaluated.
    """
    ours = [*(label_rules(params) if labelled else []), *image_rules(params)]
    theirs = read_user_suite(user_suite) if user_suite else []
    # Our own rules name what fails them by their queries. Great Expectations copies the frame for each, so it gets no
    # more of it than they judge.
    judged = frame[list(dict.fromkeys(rule.column for rule in ours))]
    on_ours = run_expectations(judged, [rule.expectation for rule in ours], name_failing=False)
    on_theirs = run_expectations(frame, [rule.expectation for rule in theirs], name_failing=True) if theirs else []
    return [
        *(rule.result(frame, finding) for rule, finding in zip(ours, on_ours, strict=True)),
        *(
            rule.result(finding, list(frame.columns), len(frame))
            for rule, finding in zip(theirs, on_theirs, strict=True)
        ),
    ]
