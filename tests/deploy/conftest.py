"""A release and a store, made once and copied for every test."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from release_scene import make_store
from small_release import make_release


@pytest.fixture(scope="session")
def release_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_release(tmp_path_factory.mktemp("small-release") / "release")


@pytest.fixture
def release(release_template: Path, tmp_path: Path) -> Path:
    """A release folder that may be served, free to be spoilt."""
    return Path(shutil.copytree(release_template, tmp_path.resolve() / "release"))


@pytest.fixture(scope="session")
def store_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("small-store") / "store")


@pytest.fixture
def store(store_template: Path, tmp_path: Path) -> Path:
    """A release store whose `prod` names version 1, free to be changed."""
    return Path(shutil.copytree(store_template, tmp_path.resolve() / "store"))
