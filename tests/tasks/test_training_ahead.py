"""Work is done ahead, given back in order, and its errors come where they belong."""

from __future__ import annotations

import threading
from functools import partial

import pytest

from tasks.training.ahead import BATCHES_AHEAD, prepared


def test_results_come_in_order_and_the_next_ones_are_ready_meanwhile() -> None:
    done: list[int] = []
    both = threading.Event()

    def work(number: int) -> int:
        done.append(number)
        if number == BATCHES_AHEAD:
            both.set()
        return number

    results = prepared(partial(work, number) for number in range(9))
    assert next(results) == 0
    assert both.wait(20)
    assert list(results) == list(range(1, 9))
    assert done == list(range(9))


def test_no_more_is_done_ahead_than_said() -> None:
    asked: list[int] = []

    def piece(number: int) -> partial[int]:
        asked.append(number)
        return partial(int, number)

    results = prepared(piece(number) for number in range(50))
    for number in range(5):
        assert next(results) == number
        assert len(asked) <= number + 1 + BATCHES_AHEAD
    results.close()  # type: ignore[attr-defined]
    assert len(asked) < 10


def test_an_error_comes_when_its_turn_comes() -> None:
    results = prepared(partial(int, text) for text in ("1", "2", "no number", "4"))
    assert [next(results), next(results)] == [1, 2]
    with pytest.raises(ValueError, match="no number"):
        next(results)


def test_nothing_to_do_gives_nothing() -> None:
    assert list(prepared([])) == []
