"""Rules on labels and classes; they hold for labelled data only."""

from __future__ import annotations

import pandas as pd
from great_expectations.expectations.core.expect_column_distinct_values_to_contain_set import (
    ExpectColumnDistinctValuesToContainSet,
)
from great_expectations.expectations.core.expect_column_unique_value_count_to_be_between import (
    ExpectColumnUniqueValueCountToBeBetween,
)
from great_expectations.expectations.core.expect_column_values_to_be_between import ExpectColumnValuesToBeBetween
from great_expectations.expectations.core.expect_column_values_to_be_in_set import ExpectColumnValuesToBeInSet
from great_expectations.expectations.core.expect_column_values_to_not_be_null import ExpectColumnValuesToNotBeNull

from tasks.errors import counted
from tasks.expectations.rule import Rule, mostly, rows, tolerated
from tasks.params import ValidateParams
from tasks.reports import FailingItem


def label_rules(params: ValidateParams) -> list[Rule]:
    """Labels present and known, classes large enough, one label for identical content."""
    known = [_known_labels(params.labels), _listed_classes(params.labels)] if params.labels is not None else []
    return [
        _labels_present(),
        *known,
        _two_classes(),
        _items_per_class(params.min_items_per_class),
        _one_label_per_content(params.max_conflicting_share),
    ]


def _labels_present() -> Rule:
    return Rule(
        name="labels_present",
        severity="critical",
        expectation=ExpectColumnValuesToNotBeNull(column="label"),
        query=rows(lambda frame: frame["label"].isna(), lambda row: "no label"),
        says="have no label",
        limit="each needs one: move the files into class folders, or fill the table's label column",
    )


def _known_labels(known: list[str]) -> Rule:
    return Rule(
        name="labels_known",
        severity="critical",
        expectation=ExpectColumnValuesToBeInSet(column="label", value_set=known),
        query=rows(
            lambda frame: frame["label"].notna() & ~frame["label"].isin(known),
            lambda row: f"unknown label {row.label!r}",
        ),
        says="have an unknown label",
        limit=f"known are {', '.join(known)} (params.yaml: validate.labels)",
    )


def _listed_classes(known: list[str]) -> Rule:
    return Rule(
        name="classes_listed",
        severity="critical",
        expectation=ExpectColumnDistinctValuesToContainSet(column="label", value_set=known),
        query=lambda frame: [
            FailingItem(path=label, reason="a class without an item") for label in _without_items(known, frame)
        ],
        says=lambda frame: f"{len(_without_items(known, frame))} of {len(known)} known classes without items",
        limit=f"every class of {', '.join(known)} needs some (params.yaml: validate.labels)",
    )


def _without_items(known: list[str], frame: pd.DataFrame) -> list[str]:
    present = set(frame["label"])
    return [label for label in known if label not in present]


def _two_classes() -> Rule:
    return Rule(
        name="two_classes",
        severity="critical",
        expectation=ExpectColumnUniqueValueCountToBeBetween(column="accepted_label", min_value=2),
        query=lambda frame: [],
        says=_classes_found,
        limit="2 are needed: a folder for each class, directly below data.path (params.yaml: data.path)",
    )


def _classes_found(frame: pd.DataFrame) -> str:
    labels = frame["accepted_label"].dropna().unique()
    named = f" ({labels[0]!r})" if len(labels) == 1 else ""
    return f"{counted(len(labels), 'class', 'classes')} with usable items{named}"


def _items_per_class(least: int) -> Rule:
    return Rule(
        name="items_per_class",
        severity="critical",
        expectation=ExpectColumnValuesToBeBetween(column="accepted_of_class", min_value=least),
        query=rows(
            lambda frame: frame["accepted_of_class"] < least,
            lambda row: f"class {row.label!r} has {counted(int(row.accepted_of_class), 'usable item')}",
        ),
        says="belong to a class with too few usable items",
        limit=f"a class needs {least} (params.yaml: validate.min_items_per_class)",
    )


def _one_label_per_content(share: float) -> Rule:
    return Rule(
        name="one_label_per_content",
        severity="critical",
        expectation=ExpectColumnValuesToBeBetween(column="labels_of_content", max_value=1, mostly=mostly(share)),
        query=rows(lambda frame: frame["labels_of_content"] > 1, lambda row: str(row.reason)),
        says="are identical to an item with another label (all copies quarantined)",
        limit=tolerated(share, "max_conflicting_share"),
    )
