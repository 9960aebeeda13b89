"""What was live when: moments as people write them, and the boundaries of a change."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.history_view import change_lines, history_text, history_view
from flows.records import Action, StageChange
from flows.stage_history import live_at, parse_moment, spans, to_fall_back_to
from tasks.errors import UserError

DIGESTS = {version: f"{version:x}" * 64 for version in range(1, 10)}


def change(number: int, version: int, action: Action = "promote", at: str = "2026-11-21T08:00:00Z") -> StageChange:
    return StageChange(
        number=number,
        stage="prod",
        action=action,
        version=version,
        manifest_sha256=DIGESTS[version],
        previous=None,
        previous_sha256=None,
        forced=False,
        actor="Ann",
        reason="a reason",
        at=at,
    )


CHANGES = [
    change(1, 1, at="2026-11-20T10:00:00Z"),
    change(2, 2, at="2026-11-20T23:59:59Z"),
    change(3, 1, "rollback", at="2026-11-21T00:00:00Z"),
    change(4, 3, at="2026-11-21T12:00:00Z"),
]


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("2026-11-19", None),
        ("2026-11-20T09:59:59", None),
        ("2026-11-20T10:00:00", 1),
        ("2026-11-20 10:00", 1),
        ("2026-11-20T23:59:58Z", 1),
        ("2026-11-20", 2),
        ("20261120", 2),
        ("2026-11-21T00:00", 1),
        ("2026-11-21T01:00+01:00", 1),
        ("2026-11-21T00:59:59+01:00", 2),
        ("2026-11-21T12:59:59+01:00", 1),
        ("2026-11-21T13:00:00+01:00", 3),
        ("2026-11-21", 3),
        ("2031-01-01", 3),
    ],
)
def test_what_was_live_is_told_at_every_boundary(text: str, version: int | None) -> None:
    found = live_at(CHANGES, parse_moment(text))
    assert (found.version if found else None) == version


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01", "21.11.2026", "2026-11-21T25:00", "v3"])
def test_what_is_no_date_is_refused_with_examples(text: str) -> None:
    with pytest.raises(UserError, match=r"--at .* is no date: write 2026-11-21 \(the end of that day, UTC\)"):
        parse_moment(text)


def test_of_changes_in_one_second_the_last_one_counts() -> None:
    same = [change(1, 1), change(2, 2), change(3, 3)]
    found = live_at(same, datetime(2026, 11, 21, 8, tzinfo=UTC))
    assert found == same[-1]


def test_a_version_may_have_been_in_production_several_times() -> None:
    assert spans(CHANGES, DIGESTS[1]) == [
        ("2026-11-20T10:00:00Z", "2026-11-20T23:59:59Z"),
        ("2026-11-21T00:00:00Z", "2026-11-21T12:00:00Z"),
    ]
    assert spans(CHANGES, DIGESTS[3]) == [("2026-11-21T12:00:00Z", None)]
    assert spans(CHANGES, DIGESTS[9]) == []


@pytest.mark.parametrize(
    ("done", "expected"),
    [
        ([], []),
        ([("promote", 1)], []),
        ([("promote", 1), ("promote", 2), ("promote", 3)], [2, 1]),
        ([("promote", 1), ("promote", 2), ("rollback", 1)], []),
        ([("promote", 1), ("promote", 2), ("promote", 3), ("rollback", 2)], [1]),
        ([("promote", 1), ("promote", 2), ("promote", 3), ("rollback", 2), ("promote", 4)], [2, 1]),
        ([("promote", 1), ("promote", 2), ("promote", 1)], [2]),
        ([("promote", 1), ("promote", 2), ("promote", 1), ("rollback", 2)], []),
        ([("promote", 1), ("promote", 2), ("rollback", 1), ("rollback", 2)], []),
        ([("promote", 1), ("promote", 2), ("promote", 1), ("promote", 2), ("rollback", 1)], []),
        ([("promote", 1), ("promote", 2), ("rollback", 1), ("promote", 2)], [1]),
        ([("promote", 1), ("promote", 2), ("promote", 3), ("promote", 2), ("promote", 4)], [2, 3, 1]),
    ],
)
def test_a_rollback_leads_to_what_a_promotion_took_over_from(
    done: list[tuple[Action, int]], expected: list[int]
) -> None:
    changes = [change(number, version, action) for number, (action, version) in enumerate(done, 1)]
    assert [one.version for one in to_fall_back_to(changes)] == expected


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 5)), max_size=12))
def test_rollbacks_always_come_to_an_end_and_never_name_the_present_release(steps: list[tuple[bool, int]]) -> None:
    changes: list[StageChange] = []
    for back, version in steps:
        was_live = any(one.version == version for one in changes)
        action: Action = "rollback" if back and was_live else "promote"
        if not changes or changes[-1].version != version:
            changes.append(change(len(changes) + 1, version, action))
    seen = []
    while earlier := to_fall_back_to(changes):
        assert earlier[0].version != changes[-1].version
        assert earlier[0].version not in seen
        seen.append(earlier[0].version)
        changes.append(change(len(changes) + 1, earlier[0].version, "rollback"))


def test_the_history_is_a_table_of_at_most_a_hundred_columns() -> None:
    long = CHANGES[0].model_copy(
        update={"reason": "a reason of many words " * 12, "actor": "Ann " * 10, "forced": True}
    )
    lines = change_lines([*CHANGES, long])
    assert max(map(len, lines)) <= 100
    text = "\n".join(lines)
    assert " ".join(text.split()).count("a reason") == len(CHANGES) + 12
    assert "promote (forced)" in text
    assert lines[1].split() == ["1", "2026-11-20", "10:00:00", "v1", "promote", "Ann:", "a", "reason"]


def test_the_history_at_a_date_ends_there() -> None:
    view = history_view(CHANGES, [], [], parse_moment("2026-11-20"))
    assert [one.number for one in view.changes] == [1, 2]
    assert history_text(view).splitlines()[-1] == (
        "v2 was in production at 2026-11-20 23:59:59 UTC, since 2026-11-20 23:59:59 UTC"
    )


def test_before_the_first_change_nothing_was_in_production() -> None:
    view = history_view(CHANGES, [], [], parse_moment("2026-11-01"))
    assert (view.live, view.changes) == (None, [])
    assert history_text(view) == "nothing was in production at 2026-11-01 23:59:59 UTC"


def test_of_a_date_to_come_only_the_present_is_told() -> None:
    view = history_view(CHANGES, [], [], parse_moment("9999-01-01"))
    assert history_text(view).endswith(
        "v3 is in production, since 2026-11-21 12:00:00 UTC (9999-01-01 23:59:59 UTC is yet to come)"
    )
