"""The time that a search is given."""

from __future__ import annotations

import pytest

from flows.tune import parse_budget
from tasks.errors import ParamsError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("10m", 600), ("2h", 7200), ("1h30m", 5400), ("1.5h", 5400), (" 90S ", 90), ("0.5s", 0.5)],
)
def test_a_budget_is_read_as_a_person_writes_it(text: str, seconds: float) -> None:
    assert parse_budget(text) == seconds


@pytest.mark.parametrize("text", ["", "10", "m", "10 min", "ten minutes", "-5m", "1d", "5m!", "1e3s", "m10"])
def test_what_is_no_time_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ParamsError, match=r"--budget '.*' is no time; write 30s, 10m, 2h or 1h30m"):
        parse_budget(text)


@pytest.mark.parametrize("text", ["0s", "0m", "0h0m0s"])
def test_no_time_at_all_is_refused(text: str) -> None:
    with pytest.raises(ParamsError, match=f"--budget {text} leaves no time for a trial"):
        parse_budget(text)
