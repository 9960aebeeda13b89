"""What a test set has left for its next decision."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.alpha_spending import level_of_use, warning_use


@given(st.integers(1, 1000), st.floats(1e-4, 0.2))
def test_all_uses_together_spend_alpha_and_no_more(uses: int, alpha: float) -> None:
    levels = [level_of_use(use, uses, alpha) for use in range(1, uses + 5)]
    assert math.fsum(levels) == pytest.approx(alpha, rel=1e-12)
    assert math.fsum(levels) <= alpha * (1 + 1e-12)


@given(st.integers(1, 1000), st.floats(1e-4, 0.2))
def test_every_use_is_judged_more_strictly_than_the_one_before(uses: int, alpha: float) -> None:
    levels = [level_of_use(use, uses, alpha) for use in range(1, uses + 1)]
    assert all(later < earlier for earlier, later in pairwise(levels))
    assert min(levels) > 0


def test_after_the_last_use_nothing_is_left() -> None:
    assert level_of_use(20, 20, 0.05) > 0
    assert level_of_use(21, 20, 0.05) == 0.0


def test_a_single_use_has_all_of_alpha() -> None:
    assert level_of_use(1, 1, 0.05) == 0.05


def test_fifty_times_as_many_uses_leave_the_first_one_half_of_its_level() -> None:
    assert level_of_use(1, 1000, 0.05) > 0.45 * level_of_use(1, 20, 0.05)


@pytest.mark.parametrize(("use", "uses"), [(0, 20), (-1, 20), (1, 0)])
def test_uses_are_counted_from_one_on(use: int, uses: int) -> None:
    with pytest.raises(ValueError, match="counted from 1"):
        level_of_use(use, uses, 0.05)


@pytest.mark.parametrize(("uses", "warned"), [(1, 1), (2, 2), (4, 3), (20, 15), (1000, 750)])
def test_a_fresh_test_set_is_advised_from_three_quarters_on(uses: int, warned: int) -> None:
    assert warning_use(uses) == warned
