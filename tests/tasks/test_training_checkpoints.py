"""What a finished training gave: found again, and marked as of use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from tasks.training.checkpoints import Checkpoints


def test_a_finished_training_that_is_found_again_counts_as_just_used(tmp_path: Path) -> None:
    checkpoints, file = Checkpoints(tmp_path / "key"), tmp_path / "key" / "outcome.pt"
    assert checkpoints.outcome() is None
    checkpoints.finish({"weights": {"layer": torch.ones(2)}})
    os.utime(file, (1_600_000_000, 1_600_000_000))
    found = checkpoints.outcome()
    assert found is not None
    assert torch.equal(found["weights"]["layer"], torch.ones(2))
    assert file.stat().st_mtime > 1_700_000_000


def test_one_that_cannot_be_marked_is_found_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints = Checkpoints(tmp_path / "key")
    checkpoints.finish({"weights": {}})

    def refused(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("tasks.training.checkpoints.os.utime", refused)
    assert checkpoints.outcome() == {"weights": {}}
