"""Desks: cloned and run once, copied for every test."""

from __future__ import annotations

from pathlib import Path

import pytest
from desk import Desk, make_desk


@pytest.fixture(scope="session")
def released_template(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    desk = make_desk(tmp_path_factory.mktemp("desk").resolve())
    code, result, stderr = desk.adapt()
    assert code == 0, stderr
    assert result["state"] == "released"
    return desk


@pytest.fixture
def released(released_template: Desk, tmp_path: Path) -> Desk:
    """A desk whose first run released a model."""
    return released_template.copy(tmp_path.resolve())
