"""Rules on the images themselves and on copies among them; labels play no part."""

from __future__ import annotations

from typing import Any

from great_expectations.expectations.core.expect_column_values_to_be_between import ExpectColumnValuesToBeBetween
from great_expectations.expectations.core.expect_column_values_to_be_in_set import ExpectColumnValuesToBeInSet
from great_expectations.expectations.metadata_types import FailureSeverity

from tasks.expectations.rule import Rule, mostly, rows, tolerated
from tasks.params import ValidateParams
from tasks.preprocess import LONGEST_ASPECT


def image_rules(params: ValidateParams) -> list[Rule]:
    """Decodable, of an allowed size and mode; no content on two sides of the split; light, blur and copies."""
    return [
        _decodable(params.max_undecodable_share),
        _min_side(params),
        _max_side(params),
        _modes(params),
        _frames(params),
        _aspect(),
        _disjoint_split(),
        _brightness(params),
        _sharpness(params),
        _no_copies(),
    ]


def _decodable(share: float) -> Rule:
    return Rule(
        name="decodable",
        severity="critical",
        expectation=ExpectColumnValuesToBeInSet(column="decodable", value_set=[True], mostly=mostly(share)),
        query=rows(lambda frame: ~frame["decodable"], lambda row: str(row.reason)),
        says="cannot be decoded (quarantined)",
        limit=tolerated(share, "max_undecodable_share"),
    )


def _min_side(params: ValidateParams) -> Rule:
    share, least = params.max_undecodable_share, params.min_side
    return Rule(
        name="min_side",
        severity="critical",
        expectation=ExpectColumnValuesToBeBetween(column="shorter_side", min_value=least, mostly=mostly(share)),
        query=rows(lambda frame: frame["shorter_side"] < least, _dimensions),
        says=f"have a side below {least} pixels (validate.min_side; quarantined)",
        limit=tolerated(share, "max_undecodable_share"),
    )


def _max_side(params: ValidateParams) -> Rule:
    share, most = params.max_undecodable_share, params.max_side
    return Rule(
        name="max_side",
        severity="critical",
        expectation=ExpectColumnValuesToBeBetween(column="longer_side", max_value=most, mostly=mostly(share)),
        query=rows(lambda frame: frame["longer_side"] > most, _dimensions),
        says=f"have a side above {most} pixels (validate.max_side; quarantined)",
        limit=tolerated(share, "max_undecodable_share"),
    )


def _dimensions(row: Any) -> str:
    return f"{row.width:.0f}x{row.height:.0f} pixels"


def _modes(params: ValidateParams) -> Rule:
    share, allowed = params.max_undecodable_share, list(params.modes)
    return Rule(
        name="modes",
        severity="critical",
        expectation=ExpectColumnValuesToBeInSet(column="mode", value_set=allowed, mostly=mostly(share)),
        query=rows(
            lambda frame: frame["mode"].notna() & ~frame["mode"].isin(allowed),
            lambda row: f"mode {row.mode}",
        ),
        says="have a pixel mode that validate.modes does not list (quarantined)",
        limit=tolerated(share, "max_undecodable_share"),
    )


def _frames(params: ValidateParams) -> Rule:
    taken = "the first alone is used" if params.frames == "first" else "single images are asked for"
    return Rule(
        name="frames",
        severity="warning",
        expectation=ExpectColumnValuesToBeInSet(
            column="several_frames", value_set=[False], severity=FailureSeverity.WARNING
        ),
        query=rows(lambda frame: frame["several_frames"].eq(True), lambda row: f"a {row.format} of several frames"),
        says="hold more than one frame or page" + ("" if params.frames == "first" else " (quarantined)"),
        limit=f"{taken} (params.yaml: validate.frames)",
    )


def _aspect() -> Rule:
    return Rule(
        name="aspect",
        severity="warning",
        expectation=ExpectColumnValuesToBeBetween(
            column="aspect", max_value=LONGEST_ASPECT, severity=FailureSeverity.WARNING
        ),
        query=rows(lambda frame: frame["aspect"] > LONGEST_ASPECT, _dimensions),
        says=f"are more than {LONGEST_ASPECT} times as long as wide",
        limit="a model sees only the square in the middle; cut such strips into several images",
    )


def _disjoint_split() -> Rule:
    return Rule(
        name="official_split_disjoint",
        severity="critical",
        expectation=ExpectColumnValuesToBeBetween(column="sides_of_content", max_value=1),
        query=rows(
            lambda frame: frame["sides_of_content"] > 1,
            lambda row: f"the same content (sha256 {row.sha256[:12]}) stands on another side than {row.split} too",
        ),
        says="stand with identical content on more than one side of the official split",
        limit="none may: remove one of the copies",
    )


def _brightness(params: ValidateParams) -> Rule:
    least, most = params.min_brightness, params.max_brightness
    return Rule(
        name="brightness",
        severity="warning",
        expectation=ExpectColumnValuesToBeBetween(
            column="brightness", min_value=least, max_value=most, severity=FailureSeverity.WARNING
        ),
        query=rows(
            lambda frame: (frame["brightness"] < least) | (frame["brightness"] > most),
            lambda row: f"mean grey {row.brightness:.1f}",
        ),
        says="are very dark or very bright",
        limit=f"mean grey {least:g}-{most:g} is usual (params.yaml: validate.min_brightness, max_brightness)",
    )


def _sharpness(params: ValidateParams) -> Rule:
    least = params.min_sharpness
    return Rule(
        name="sharpness",
        severity="warning",
        expectation=ExpectColumnValuesToBeBetween(
            column="sharpness", min_value=least, severity=FailureSeverity.WARNING
        ),
        query=rows(lambda frame: frame["sharpness"] < least, lambda row: f"Laplacian variance {row.sharpness:.2f}"),
        says="are blurred or flat",
        limit=f"a Laplacian variance of {least:g} and more is usual (params.yaml: validate.min_sharpness)",
    )


def _no_copies() -> Rule:
    return Rule(
        name="copies",
        severity="warning",
        expectation=ExpectColumnValuesToBeBetween(
            column="copies_of_content", max_value=1, severity=FailureSeverity.WARNING
        ),
        query=rows(
            lambda frame: frame["copies_of_content"] > 1,
            lambda row: f"{row.copies_of_content:.0f} files have this content (sha256 {row.sha256[:12]})",
        ),
        says="are exact copies within one class and side",
        limit="copies add no information and are kept on one side",
    )
