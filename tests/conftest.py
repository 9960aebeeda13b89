"""What every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder with `data/` and `weights/` of the optional real packs (GRAFT_TEST_DATA); skips where unset."""
    named = os.environ.get("GRAFT_TEST_DATA")
    if not named:
        pytest.skip("GRAFT_TEST_DATA names no folder of real packs")
    return Path(named)
