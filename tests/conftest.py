"""What every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from small_workspace import copy_workspace, make_workspace, run_stages

from tasks.workspace import Workspace


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder with `data/` and `weights/` of the optional real packs (GRAFT_TEST_DATA); skips where unset."""
    named = os.environ.get("GRAFT_TEST_DATA")
    if not named:
        pytest.skip("GRAFT_TEST_DATA names no folder of real packs")
    return Path(named)


@pytest.fixture(scope="session")
def finished_template(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The small workspace after every stage, made once; copy it (`finished`), never change it."""
    workspace = make_workspace(tmp_path_factory.mktemp("small") / "template")
    run_stages(workspace)
    return workspace


@pytest.fixture
def finished(finished_template: Workspace, tmp_path: Path) -> Workspace:
    """A copy of the small workspace after every stage, free to be spoilt."""
    return copy_workspace(finished_template, tmp_path.resolve() / "workspace")
