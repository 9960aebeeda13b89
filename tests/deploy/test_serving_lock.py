"""deploy/requirements.lock: all that a server installs, nothing else, at the versions that all is tested with."""

from __future__ import annotations

import shutil
import subprocess
import tomllib
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from serving_scene import REPOSITORY, pins


def needed_by(requirements: list[str]) -> set[str]:
    """Names of what these requirements lead to on this machine, extras of theirs included."""
    found: set[tuple[str, str]] = set()
    waiting = [Requirement(text) for text in requirements]
    while waiting:
        one = waiting.pop()
        for extra in ("", *one.extras):
            key = (canonicalize_name(one.name), extra)
            if key in found:
                continue
            found.add(key)
            for text in distribution(one.name).requires or []:
                further = Requirement(text)
                if further.marker is None or further.marker.evaluate({"extra": extra}):
                    waiting.append(further)
    return {name for name, _ in found}


def test_the_lock_holds_what_the_serve_extra_needs_and_nothing_else() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    wanted = needed_by([*project["dependencies"], *project["optional-dependencies"]["serve"]])
    assert set(pins(REPOSITORY / "deploy" / "requirements.lock")) == wanted


def test_a_server_runs_on_the_versions_that_everything_is_tested_with() -> None:
    everything = pins(REPOSITORY / "requirements.lock")
    served = pins(REPOSITORY / "deploy" / "requirements.lock")
    assert served == {name: everything.get(name) for name in served}


def test_nothing_of_the_pipeline_is_locked_for_a_server() -> None:
    served = set(pins(REPOSITORY / "deploy" / "requirements.lock"))
    assert {"onnxruntime", "fastapi", "numpy", "pillow", "pydantic"} <= served
    assert served.isdisjoint({"torch", "prefect", "dvc", "great-expectations", "triton", "pandas", "pyarrow", "scipy"})
    assert not [name for name in served if name.startswith(("nvidia", "cuda"))]


def test_the_bill_of_materials_is_made_without_touching_the_environment_of_the_checkout(tmp_path: Path) -> None:
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    shutil.copy(REPOSITORY / "Makefile", tmp_path)
    for name in ("requirements.lock", "pyproject.toml"):
        (tmp_path / name).touch()
    told = subprocess.run(["make", "--dry-run", "sbom"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "build/sbom.cdx.json" in told.stdout
    assert ".venv" not in told.stdout
