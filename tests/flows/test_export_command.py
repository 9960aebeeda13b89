"""`graft export --format triton`: which release goes out and under which number."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from registry_scene import Scene, make_scene

from flows.chosen_release import choose_release, number_of
from flows.store import stored_release
from tasks.digests import file_sha256


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return make_scene(tmp_path.resolve())


def test_the_number_is_the_registrys_whichever_way_the_release_is_named(scene: Scene) -> None:
    scene.publish(1)
    second = scene.publish(2)
    scene.promote("v1")
    folder = stored_release(scene.store, second.manifest_sha256)
    for release, version, wanted in ((None, None, 1), (None, "v2", 2), (folder, None, 2)):
        chosen = choose_release(scene.workspace, scene.params, release, version)
        assert number_of(scene.workspace, chosen) == wanted
    assert number_of(None, choose_release(None, scene.params, folder, None)) == 1, "no registry, the first"


def test_the_command_exports_what_is_in_production_and_follows_a_rollback(scene: Scene) -> None:
    first = scene.publish(1)
    scene.publish(2)
    scene.promote("v1")
    scene.promote("v2", force=True)
    models = scene.folder / "models"
    done = scene.graft("export", "--format", "triton", "-o", str(models), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["version"] == 2
    scene.rollback()
    back = scene.graft("export", "--format", "triton", "-o", str(models), "--instances", "4")
    assert back.returncode == 0, back.stderr
    (model,) = models.iterdir()
    assert sorted(path.name for path in model.iterdir()) == ["1", "2", "config.pbtxt"]
    config = (model / "config.pbtxt").read_text()
    assert re.search(r"specific \{ versions: \[ 1 \] \}", config)
    assert "count: 4" in config
    stored = stored_release(scene.store, first.manifest_sha256)
    assert file_sha256(model / "1" / "model.onnx") == file_sha256(stored / "model.onnx")
    other = scene.graft("export", "--format", "onnx", "-o", str(models))
    assert other.returncode == 1
    assert "'onnx' is not one of 'triton'" in other.stderr
    assert "Traceback" not in other.stderr
