"""Limits change what a run takes, never what it makes."""

from __future__ import annotations

import shutil

import pytest
from desk import Desk


@pytest.mark.slow
def test_a_run_with_another_number_of_threads_makes_the_same_bytes(released: Desk) -> None:
    before = released.results()
    for name in ("data/embeddings", "models", "reports", ".dvc/cache", ".dvc/tmp"):
        shutil.rmtree(released.root / name)
    shutil.rmtree(released.home / "cache" / "features")
    (released.root / "dvc.lock").unlink()
    code, result, stderr = released.adapt("--set", "limits.threads=1")
    assert code == 0, stderr
    assert result["unchanged"] is False
    assert released.results() == before


def test_limits_are_no_dependency_of_any_stage(released: Desk) -> None:
    code, result, stderr = released.adapt("--set", "limits.threads=1", "--set", "limits.memory_gb=3")
    assert code == 0, stderr
    assert result["unchanged"] is True
