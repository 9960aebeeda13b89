"""The collector is kept still only while it should be, and validate leaves the interpreter as it found it."""

from __future__ import annotations

import gc
import sys
from pathlib import Path

import pytest
from small_workspace import add_pictures

from tasks.params import parse_params
from tasks.stage import without_collector
from tasks.validate import check_data


def test_the_collector_runs_again_afterwards_even_after_an_error() -> None:
    seen = []
    with pytest.raises(KeyError), without_collector():
        {}[seen.append(gc.isenabled())]
    assert seen == [False]
    assert gc.isenabled()


def test_a_collector_that_was_off_stays_off() -> None:
    gc.disable()
    try:
        with without_collector():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_validate_leaves_the_collector_and_the_switch_interval_as_they_were(tmp_path: Path) -> None:
    before = sys.getswitchinterval()
    add_pictures(tmp_path / "raw", 12)
    assert check_data(tmp_path / "raw", parse_params({}, "params.yaml")).passed
    assert gc.isenabled()
    assert sys.getswitchinterval() == before
