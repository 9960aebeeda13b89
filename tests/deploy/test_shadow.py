"""A shadow sees a share of what was answered, and nothing of it ever reaches or delays a client."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import time
import weakref
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from app_scene import settings_of
from asgi_client import asking
from small_release import CROP, answer_nan, make_release, photo

from deploy import shadow as shadow_module
from deploy.app import make_app
from deploy.engine import Engine
from deploy.metrics import Metrics
from deploy.model import Model, Outputs, load_model
from deploy.shadow import Shadow
from tasks.params import ServeParams
from tasks.preprocess import UInt8Image


@pytest.fixture(scope="module")
def live(release_template: Path) -> Model:
    return load_model(release_template, "1")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load_model(make_release(tmp_path_factory.mktemp("other") / "release", seed=1), "2")


def with_engine(live: Model, scene: Callable[[Engine], Coroutine[Any, Any, None]], **knobs: Any) -> Engine:
    """Run a scene with a started engine, and stop it."""
    engine = Engine(live, ServeParams.model_validate(knobs), Metrics())

    async def run() -> None:
        await engine.start()
        try:
            await scene(engine)
        finally:
            await engine.stop()

    asyncio.run(asyncio.wait_for(run(), 60))
    return engine


def seen_by(shadow: Shadow) -> int:
    view = shadow.view()
    return view.agreed + view.disagreed + view.failed + view.dropped


async def compared(shadow: Shadow, count: int) -> None:
    """Until so many images have gone one way or another."""
    while seen_by(shadow) < count:
        await asyncio.sleep(0.005)


def label(model: Model, data: bytes) -> str:
    return model.labels[int(model.opened.answer(model.opened.preprocess.prepare(data)).argmax())]


def test_disagreements_are_counted_and_told_and_the_latest_kept_with_both_answers(
    live: Model, other: Model, caplog: pytest.LogCaptureFixture
) -> None:
    photos = [photo(seed) for seed in range(30)]
    differ = [place for place, data in enumerate(photos) if label(live, data) != label(other, data)]
    assert 6 < len(differ) < 30

    async def scene(engine: Engine) -> None:
        engine.shadow.take_over(other)
        for place, data in enumerate(photos):
            answer = await engine.answer(data, f"r-{place}")
            assert answer.model is live
        await compared(engine.shadow, 30)

    with caplog.at_level(logging.INFO, "graft.shadow"):
        view = with_engine(live, scene, shadow={"kept": 5}).shadow.view()
    lines = [record.getMessage() for record in caplog.records]
    assert [line.rpartition(" ")[2] for line in lines] == [f"r-{place}" for place in differ]
    assert lines[-1].startswith(f"v1 says {label(live, photos[differ[-1]])} (")
    assert f"shadow v2 {label(other, photos[differ[-1]])} (" in lines[-1]
    assert (view.version, view.digest, view.share) == ("2", other.digest, 1.0)
    assert (view.agreed, view.disagreed, view.failed, view.dropped) == (30 - len(differ), len(differ), 0, 0)
    assert [one.request_id for one in view.disagreements] == [f"r-{place}" for place in differ[::-1][:5]]
    latest = view.disagreements[0]
    assert (latest.live.version, latest.live.label) == ("1", label(live, photos[differ[-1]]))
    assert (latest.shadow.version, latest.shadow.label) == ("2", label(other, photos[differ[-1]]))
    best = other.opened.answer(other.opened.preprocess.prepare(photos[differ[-1]])).max()
    assert latest.shadow.probability == pytest.approx(best, abs=1e-5)


def test_a_shadow_that_prepares_images_otherwise_gets_them_as_they_were_sent(live: Model, tmp_path: Path) -> None:
    wide = load_model(make_release(tmp_path / "wide", seed=3, crop=48, labels=("ocean", "meadow", "ember")), "3")
    photos = [photo(seed) for seed in range(20)]
    agree = sum(label(live, data) == label(wide, data) for data in photos)
    assert 0 < agree < 20

    async def scene(engine: Engine) -> None:
        engine.shadow.take_over(wide)
        for data in photos:
            await engine.answer(data)
        await engine.answer_many(np.zeros((3, CROP, CROP, 3), np.uint8))
        await compared(engine.shadow, 23)

    view = with_engine(live, scene).shadow.view()
    assert (view.agreed, view.disagreed, view.failed) == (agree, 20 - agree, 3)


def test_a_share_of_the_images_is_seen_the_same_ones_for_the_same_seed(live: Model, other: Model) -> None:
    def seen(seed: int) -> list[str]:
        idle, found = threading.Event(), []
        shadow = Shadow(ServeParams.model_validate({"shadow": {"share": 0.25}}), Metrics(), idle, seed)
        shadow._put = lambda done, model: bool(found.append(done.request.request_id)) or True  # type: ignore[func-returns-value, method-assign]
        shadow.take_over(other)

        async def ask() -> None:
            engine = Engine(live, ServeParams(), Metrics())
            engine.shadow = shadow
            await engine.start()
            for place in range(400):
                await engine.answer(np.zeros((CROP, CROP, 3), np.uint8), str(place))
            await engine.stop()

        asyncio.run(ask())
        return found

    first = seen(1)
    assert 60 < len(first) < 140
    assert seen(1) == first
    assert seen(2) != first


@pytest.mark.parametrize("fault", ["raises", "nan"])
def test_its_errors_are_counted_and_reach_no_client(
    live: Model, tmp_path: Path, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_release(tmp_path / "bad", seed=0)
    answer_nan(folder, level=255)
    bad = load_model(folder, "4")
    run = Model.run

    def failing(model: Model, images: UInt8Image) -> Outputs:
        if model is bad and fault == "raises":
            raise RuntimeError("out of memory")
        return run(model, images)

    monkeypatch.setattr(Model, "run", failing)
    white = np.full((CROP, CROP, 3), 255, np.uint8)

    async def scene(engine: Engine) -> None:
        engine.shadow.take_over(bad)
        for _ in range(3):
            assert (await engine.answer(white)).model is live
        await compared(engine.shadow, 3)
        assert (await engine.answer(white)).model is live

    view = with_engine(live, scene).shadow.view()
    assert view.failed >= 3
    assert (view.agreed, view.disagreed) == (0, 0)


def test_it_does_not_begin_while_a_client_waits_and_drops_what_is_too_much(
    live: Model, other: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, release = Model.run, threading.Event()
    runs: list[str] = []

    def noting(model: Model, images: UInt8Image) -> Outputs:
        runs.append(model.version)
        if images[0, 0, 0, 0] == 9:
            assert release.wait(30)
        return run(model, images)

    monkeypatch.setattr(Model, "run", noting)
    held = np.full((CROP, CROP, 3), 9, np.uint8)

    async def scene(engine: Engine) -> None:
        engine.shadow.take_over(other)
        slow = asyncio.create_task(engine.answer(held))
        while not runs:
            await asyncio.sleep(0.001)
        for _ in range(10):
            await engine.answer(photo(1))
        await asyncio.sleep(0.05)
        assert runs == ["1"] * 11
        assert engine.shadow.view().dropped == 6
        release.set()
        await slow
        await compared(engine.shadow, 11)
        assert runs.count("2") == 4

    with_engine(live, scene, threads=2, shadow={"queue": 4})


def test_a_shadow_that_hangs_delays_nobody_not_even_the_end(
    live: Model, other: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, release, hangs = Model.run, threading.Event(), threading.Event()

    def hanging(model: Model, images: UInt8Image) -> Outputs:
        if model.version == "2":
            hangs.set()
            assert release.wait(60)
        return run(model, images)

    monkeypatch.setattr(Model, "run", hanging)

    async def scene(engine: Engine) -> None:
        engine.shadow.take_over(other)
        await engine.answer(photo(1))
        await asyncio.to_thread(hangs.wait, 30)
        await asyncio.gather(*(engine.answer(photo(seed)) for seed in range(10)))

    with_engine(live, scene)
    release.set()


def test_the_bytes_that_wait_for_it_are_bounded(live: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wide = load_model(make_release(tmp_path / "wide", seed=3, crop=48), "3")
    data = photo(1, kind="PNG")
    monkeypatch.setattr(shadow_module, "MOST_BYTES", 3 * len(data))

    async def scene(engine: Engine) -> None:
        engine.shadow.take_over(wide)
        for dropped in (5, 10):
            engine.idle.clear()
            engine.admitted += 1  # As if somebody waited all the time.
            for _ in range(8):
                await engine.answer(data)
            assert engine.shadow.view().dropped == dropped
            engine.admitted -= 1
            engine.idle.set()
            await compared(engine.shadow, 8 * dropped // 5)

    with_engine(live, scene)


def test_of_a_large_request_only_the_images_that_wait_are_held(live: Model, other: Model) -> None:
    async def scene(engine: Engine) -> None:
        engine.shadow.take_over(other)
        engine.idle.clear()
        engine.admitted += 1
        images = np.zeros((40, CROP, CROP, 3), np.uint8)
        held = weakref.ref(images)
        await engine.answer_many(images)
        del images
        gc.collect()
        assert engine.shadow.view().dropped == 36
        assert held() is None
        engine.admitted -= 1

    with_engine(live, scene, queue=64, shadow={"queue": 4})


def test_what_a_shadow_that_was_replaced_says_late_is_not_kept(
    live: Model, other: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    third = load_model(make_release(tmp_path / "third", seed=5), "3")
    data = next(photo(seed) for seed in range(50) if label(live, photo(seed)) != label(other, photo(seed)))
    run, hangs, release = Model.run, threading.Event(), threading.Event()

    def hanging(model: Model, images: UInt8Image) -> Outputs:
        if model is other:
            hangs.set()
            assert release.wait(60)
        return run(model, images)

    monkeypatch.setattr(Model, "run", hanging)

    async def scene(engine: Engine) -> None:
        engine.shadow.take_over(other)
        await engine.answer(data)
        await asyncio.to_thread(hangs.wait, 30)
        engine.shadow.take_over(third)
        release.set()
        for seed in range(8):
            await engine.answer(photo(seed))
        await compared(engine.shadow, 8)
        view = engine.shadow.view()
        assert view.agreed + view.disagreed == 8
        assert "2" not in {one.shadow.version for one in view.disagreements}

    with_engine(live, scene)


def test_another_shadow_begins_with_counts_of_its_own(live: Model, other: Model, tmp_path: Path) -> None:
    third = load_model(make_release(tmp_path / "third", seed=5), "3")

    async def scene(engine: Engine) -> None:
        for model in (other, third):
            engine.shadow.take_over(model)
            for seed in range(20):
                await engine.answer(photo(seed))
            await compared(engine.shadow, 20)
            view = engine.shadow.view()
            assert view.version == model.version
            assert view.agreed + view.disagreed == 20
            assert {one.shadow.version for one in view.disagreements} == {model.version}
        engine.shadow.take_over(None)
        view = engine.shadow.view()
        assert (view.version, view.agreed, view.disagreements) == (None, 0, [])
        await engine.answer(photo(1))
        assert engine.shadow.view().dropped == 0

    with_engine(live, scene)


def test_get_shadow_shows_it_and_needs_the_token(release: Path, other: Model, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("a-long-enough-secret-of-the-test\n")
    token.chmod(0o600)
    app = make_app(settings_of(release, token_file=str(token)))
    with asking(app) as client:
        assert client.get("/shadow").status == 401
        bearer = {"authorization": "Bearer a-long-enough-secret-of-the-test"}
        assert client.get("/shadow", **bearer).json["version"] is None
        engine = app.state.worker.engine
        engine.shadow.take_over(other)
        for seed in range(10):
            assert client.post("/predict", photo(seed), x_request_id=f"mine-{seed}", **bearer).status == 200
        until = time.monotonic() + 30
        while (view := engine.shadow.view()).agreed + view.disagreed < 10 and time.monotonic() < until:
            time.sleep(0.01)
        shown = client.get("/shadow", **bearer).json
    assert shown["agreed"] + shown["disagreed"] == 10
    assert shown["disagreed"] == len(shown["disagreements"]) > 0
    assert {one["request_id"][:5] for one in shown["disagreements"]} == {"mine-"}
    assert set(shown["disagreements"][0]) == {"at", "request_id", "image", "live", "shadow"}
