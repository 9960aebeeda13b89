"""What people decide at the registry reaches a running server by itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from registry_scene import Scene, make_scene

from deploy.engine import Engine
from deploy.metrics import Metrics
from deploy.settings import Settings
from deploy.watch import Watch, load_first
from flows.shadow_pointer import end_shadow, put_in_shadow
from tasks.errors import ReleaseError
from tasks.params import ServeParams

PATIENCE = 60.0


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """Two versions, the first in production."""
    scene = make_scene(tmp_path.resolve())
    scene.publish(1)
    scene.promote("v1")
    scene.publish(2)
    return scene


@pytest.fixture
def engine(scene: Scene) -> Iterator[Engine]:
    """Of a server that follows the registry's store."""
    settings = Settings(ServeParams(watch_seconds=0.05), scene.store)
    metrics = Metrics()
    engine = Engine(load_first(settings), settings.serve, metrics)
    watch = Watch(settings, engine, metrics)
    watch.start()
    yield engine
    watch.stop()
    engine.shadow.close()


def await_that(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until, "what was waited for never came"
        time.sleep(0.01)


def test_a_promotion_and_a_rollback_are_followed(scene: Scene, engine: Engine) -> None:
    assert engine.model.version == "1"
    scene.promote("v2")
    await_that(lambda: engine.model.version == "2")
    scene.rollback()
    await_that(lambda: engine.model.version == "1")
    assert engine.model.digest == scene.history()[-1].manifest_sha256


def test_the_shadow_is_followed_and_production_stays(scene: Scene, engine: Engine) -> None:
    put_in_shadow(scene.workspace, scene.params, "v2", "see", "Ann")
    await_that(lambda: engine.shadow.model is not None and engine.shadow.model.version == "2")
    end_shadow(scene.workspace, scene.params, None, "Ann")
    await_that(lambda: engine.shadow.model is None)
    assert engine.model.version == "1"


def test_what_promotion_refuses_a_server_never_sees(scene: Scene, engine: Engine) -> None:
    bad = scene.publish(3)
    model = scene.store / bad.manifest_sha256 / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1])
    before = (scene.store / "prod").read_bytes()
    with pytest.raises(ReleaseError, match=r"model\.onnx was altered or truncated"):
        scene.promote("v3", force=True)
    assert (scene.store / "prod").read_bytes() == before
    scene.promote("v2")
    await_that(lambda: engine.model.version == "2")
