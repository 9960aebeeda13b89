"""Reloads and refusals while clients ask without a pause: nobody notices but by the version."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections import Counter
from pathlib import Path

import pytest
from reload_scene import PHOTOS, ReloadScene

from deploy.engine import Engine
from deploy.metrics import Metrics
from deploy.model import Model
from deploy.settings import Settings
from deploy.watch import Watch, load_first
from tasks.opened_release import OpenedRelease
from tasks.params import ServeParams

CLIENTS = 6


class Load:
    """Clients that ask an engine without a pause until they are stopped, each answer held against its version's."""

    def __init__(self, scene: ReloadScene, engine: Engine) -> None:
        self._scene, self._engine = scene, engine
        self.stopped = False
        self.seen: Counter[str] = Counter()
        self.wrong: list[str] = []

    async def ask(self, client: int) -> None:
        turn = client
        while not self.stopped:
            place = turn % len(PHOTOS)
            turn += 1
            answers = (
                await self._engine.answer_many([PHOTOS[place]] * 9)
                if client == 0
                else [await self._engine.answer(PHOTOS[place])]
            )
            if len({answer.model.version for answer in answers}) != 1:
                self.wrong.append("a request of two versions")
            for answer in answers:
                version = answer.model.version
                self.seen[version] += 1
                if answer.model.digest != self._scene.expected.get(version):
                    self.wrong.append(f"version {version} never was to be served")
                elif not self._scene.is_right(version, place, answer.probabilities):
                    self.wrong.append(f"photo {place} is not answered as version {version} does")


@pytest.mark.parametrize(("sound", "bad", "threads"), [(14, 7, 1), (100, 20, 2)], ids=["one-thread", "two-threads"])
def test_no_request_fails_every_bad_release_is_refused_and_old_ones_are_let_go(
    store: Path, sound: int, bad: int, threads: int
) -> None:
    scene = ReloadScene(store)
    settings = Settings(ServeParams(queue=64, max_batch=4, threads=threads), store)
    metrics = Metrics()
    first = load_first(settings)
    engine = Engine(first, settings.serve, metrics)
    watch = Watch(settings, engine, metrics)
    opened = [weakref.ref(first.opened)]
    del first

    async def reload(load: Load) -> None:
        for promotion in scene.promotions(sound, bad):
            before = engine.model.version
            await asyncio.to_thread(watch.look)
            version = str(promotion.version)
            assert engine.model.version == (version if promotion.sound else before)
            if promotion.sound:
                opened.append(weakref.ref(engine.model.opened))
                await seen(load, version)

    async def seen(load: Load, version: str) -> None:
        while not load.seen[version] and not load.wrong:
            await asyncio.sleep(0.001)

    async def run() -> Load:
        await engine.start()
        load = Load(scene, engine)
        clients = [asyncio.create_task(load.ask(client)) for client in range(CLIENTS)]
        await seen(load, "1")
        try:
            await reload(load)
        finally:
            load.stopped = True
            await asyncio.gather(*clients)
            await engine.stop()
        return load

    gc.collect()
    gc.disable()
    try:
        load = asyncio.run(asyncio.wait_for(run(), 500))
    finally:
        gc.enable()
    assert load.wrong == []
    assert set(load.seen) == set(scene.expected)
    text = metrics.exposition().decode()
    assert f'graft_reloads_total{{outcome="accepted",pointer="prod"}} {sound}.0' in text
    assert f'graft_reloads_total{{outcome="refused",pointer="prod"}} {bad}.0' in text
    assert living(opened) == [engine.model.opened]


def living(opened: list[weakref.ref[OpenedRelease]]) -> list[OpenedRelease]:
    return [one for ref in opened if (one := ref()) is not None]


def test_what_answers_is_one_object_that_a_batch_keeps(store: Path) -> None:
    """The reference is read once for each request: a reload between decoding and running changes nothing."""
    scene = ReloadScene(store)
    settings = Settings(ServeParams(), store)
    engine = Engine(load_first(settings), settings.serve, Metrics())
    watch = Watch(settings, engine, Metrics())
    run = Model.run
    promoted = []

    def promoting(model: Model, images: object) -> object:
        if not promoted:
            promoted.extend(scene.promotions(1, 0))
            watch.look()
        return run(model, images)  # type: ignore[arg-type]

    async def ask() -> None:
        await engine.start()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Model, "run", promoting)
            answer = await engine.answer(PHOTOS[0])
        assert (answer.model.version, engine.model.version) == ("1", "2")
        assert scene.is_right("1", 0, answer.probabilities)
        assert not scene.is_right("2", 0, answer.probabilities)
        await engine.stop()

    asyncio.run(ask())
