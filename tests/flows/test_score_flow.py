"""Batch scoring as a flow: how it ends, and what it shows on the way."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest
from prefect.logging import disable_run_logger
from registry_scene import Scene, make_scene
from scoring_scene import make_photos, rows_of

import flows.artifacts as artifacts
import flows.score_flow as module
from flows.score_flow import score_flow
from tasks import stage


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    made = make_scene(tmp_path.resolve())
    monkeypatch.chdir(made.root)
    monkeypatch.setattr(stage, "_speak", stage._speak)
    make_photos(made.root / "photos", 3)
    made.publish(1)
    made.promote("v1")
    return made


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Any]]:
    """What would be on the run's page."""
    seen: dict[str, list[Any]] = {"progress": [], "table": []}

    def create(progress: float, key: str) -> uuid.UUID:
        seen["progress"].append(progress)
        return uuid.uuid4()

    monkeypatch.setattr(artifacts, "create_progress_artifact", create)
    monkeypatch.setattr(
        artifacts, "update_progress_artifact", lambda artifact_id, progress: seen["progress"].append(progress)
    )
    monkeypatch.setattr(
        module, "create_table_artifact", lambda key, table, description: seen["table"].extend([*table, description])
    )
    return seen


@pytest.fixture(autouse=True)
def quiet() -> object:
    with disable_run_logger():
        yield


def test_a_flow_scores_by_what_is_in_production_with_paths_from_the_checkout(
    scene: Scene, shown: dict[str, list[Any]]
) -> None:
    (scene.root / "photos" / "bad.jpg").write_bytes(b"no")
    done = score_flow.fn("photos", "scores.parquet")
    assert done.is_completed(), done.message
    assert "scores.parquet: 4 rows by release v1" in str(done.message)
    assert len(rows_of(scene.root / "scores.parquet")) == 4
    assert shown["progress"][-1] == 100.0
    assert shown["table"][0]["path"] == "bad.jpg"
    assert shown["table"][-1].startswith("1 file without an answer")
    again = score_flow.fn("photos", "scores.parquet", version="v1", threads=1)
    assert again.is_completed()
    assert "was complete already" in str(again.message)


def test_a_fault_and_a_folder_without_any_image_end_as_failed_with_the_reason(
    scene: Scene, shown: dict[str, list[Any]]
) -> None:
    for parameters, said in [
        ({"source": "none", "output": "scores.parquet"}, "does not exist"),
        ({"source": "photos", "output": "scores.csv"}, "name a Parquet file"),
        ({"source": "photos", "output": "scores.parquet", "version": "v8"}, "there is no version v8"),
        ({"source": 3, "output": "scores.parquet"}, "source: 3 is no text"),
        ({"source": "photos", "output": ""}, "output: '' is no text"),
        ({"source": "photos", "output": "scores.parquet", "threads": -1}, "no number of threads"),
        ({"source": "photos", "output": "scores.parquet", "embeddings": "no"}, "neither true nor false"),
    ]:
        state = score_flow.fn(**parameters)
        assert state.is_failed()
        assert said in str(state.message)
    for path in (scene.root / "photos").rglob("*.jpg"):
        path.write_bytes(b"no")
    state = score_flow.fn("photos", "scores.parquet")
    assert state.is_failed()
    assert "3 files: 0 scored, 3 could not be" in str(state.message)
