"""The engine: what it admits, how it batches, and that nothing but sound answers of one release leave it."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import weakref
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_release import CROP, answer_nan, make_release, photo

import deploy.batch
import deploy.engine
from deploy.engine import AnswerFailed, Engine, Late, Overloaded, Stopping
from deploy.images import TooManyPixels
from deploy.metrics import Metrics
from deploy.model import Model, Outputs, load_model
from tasks.decoding import UndecodableImage, read_header
from tasks.params import ServeParams
from tasks.preprocess import UInt8Image


@pytest.fixture(scope="module")
def model(release_template: Path) -> Model:
    return load_model(release_template)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load_model(make_release(tmp_path_factory.mktemp("other") / "release", seed=1), version="2")


class Gate:
    """A model whose runs wait until they are let through, and say how many images each had."""

    def __init__(self, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
        self.batches: list[int] = []
        self.entered, self.open = threading.Semaphore(0), threading.Semaphore(0)
        run = Model.run

        def waiting(one: Model, images: UInt8Image) -> Outputs:
            self.batches.append(len(images))
            self.entered.release()
            assert self.open.acquire(timeout=30)
            return run(one, images)

        monkeypatch.setattr(Model, "run", waiting)

    async def begun(self) -> None:
        """Until a run has begun."""
        assert await asyncio.to_thread(self.entered.acquire, timeout=30)

    def let_through(self, runs: int = 1000) -> None:
        for _ in range(runs):
            self.open.release()


def with_engine(
    model: Model, scene: Callable[[Engine], Coroutine[Any, Any, None]], metrics: Metrics | None = None, **knobs: Any
) -> None:
    """Run a scene with a started engine, and stop it."""

    async def run() -> None:
        engine = Engine(model, ServeParams(**knobs), metrics or Metrics())
        await engine.start()
        try:
            await scene(engine)
        finally:
            await engine.stop()

    asyncio.run(asyncio.wait_for(run(), 60))


def pixels(seed: int = 0) -> UInt8Image:
    return np.random.default_rng(seed).integers(0, 256, (CROP, CROP, 3), dtype=np.uint8)


async def waiting(count: int, engine: Engine) -> None:
    while engine.admitted < count:
        await asyncio.sleep(0.001)


def test_encoded_and_prepared_images_are_answered_as_the_release_itself_answers(model: Model) -> None:
    async def scene(engine: Engine) -> None:
        prepared = model.opened.preprocess.prepare(photo(3))
        encoded, ready = await asyncio.gather(engine.answer(photo(3)), engine.answer(prepared))
        expected = model.run(prepared[None])
        for answer in (encoded, ready):
            np.testing.assert_array_equal(answer.probabilities, expected.probabilities[0])
            np.testing.assert_array_equal(answer.logits, expected.logits[0])
            np.testing.assert_array_equal(answer.embedding, expected.embedding[0])
            assert answer.model is model

    with_engine(model, scene)


def test_a_batch_is_what_waits_and_never_more_than_allowed(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(model, monkeypatch)

    async def scene(engine: Engine) -> None:
        first = asyncio.create_task(engine.answer(pixels(0)))
        await gate.begun()
        others = [asyncio.create_task(engine.answer(photo(seed))) for seed in range(1, 8)]
        await waiting(8, engine)
        gate.let_through()
        await asyncio.gather(first, *others)
        assert gate.batches == [1, 3, 3, 1]

    with_engine(model, scene, max_batch=3)


def test_every_image_of_a_mixed_batch_gets_its_own_answer(model: Model) -> None:
    async def scene(engine: Engine) -> None:
        images = [photo(seed) if seed % 2 else model.opened.preprocess.prepare(photo(seed)) for seed in range(60)]
        answers = await asyncio.gather(*(engine.answer(image) for image in images))
        ready = np.stack([model.opened.preprocess.prepare(photo(seed)) for seed in range(60)])
        expected = model.run(ready).probabilities
        np.testing.assert_allclose([answer.probabilities for answer in answers], expected, atol=1e-6)

    with_engine(model, scene, queue=64, max_batch=4, threads=2)


def test_an_image_that_fails_fails_alone(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(model, monkeypatch)

    async def scene(engine: Engine) -> None:
        first = asyncio.create_task(engine.answer(pixels()))
        await gate.begun()
        images = [photo(1), b"junk", photo(2)[:-200], np.zeros((CROP, CROP + 1, 3), np.uint8), photo(3)]
        others = [asyncio.create_task(engine.answer(image)) for image in images]
        await waiting(6, engine)
        gate.let_through()
        await first
        found = await asyncio.gather(*others, return_exceptions=True)
        assert [type(one).__name__ for one in found] == ["Answer", *["UndecodableImage"] * 3, "Answer"]
        assert "not an image" in str(found[1])
        assert "broken JPEG data" in str(found[2])
        assert "the model takes uint8 (32, 32, 3)" in str(found[3])
        assert gate.batches == [1, 2]

    with_engine(model, scene, max_batch=8)


def test_a_run_that_fails_is_repeated_for_each_image_alone(
    model: Model, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run = Model.run
    asked = threading.Event()
    began = threading.Event()

    def failing(one: Model, images: UInt8Image) -> Outputs:
        began.set()
        assert asked.wait(30)
        if len(images) > 1 or images[0, 0, 0, 0] == 7:
            raise RuntimeError("no memory for that")
        return run(one, images)

    monkeypatch.setattr(Model, "run", failing)

    async def scene(engine: Engine) -> None:
        bad = np.full((CROP, CROP, 3), 7, np.uint8)
        tasks = [asyncio.create_task(engine.answer(pixels(), "first"))]
        await asyncio.to_thread(began.wait, 30)
        tasks += [asyncio.create_task(engine.answer(image, "r-7")) for image in (pixels(), bad, pixels())]
        await waiting(4, engine)
        asked.set()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(one).__name__ for one in found] == ["Answer", "Answer", "AnswerFailed", "Answer"]
        assert "memory" not in str(found[2])

    with caplog.at_level(logging.ERROR, "graft.engine"):
        with_engine(model, scene, max_batch=4)
    assert [record.getMessage() for record in caplog.records if "r-7" in record.getMessage()]


def test_an_answer_that_is_not_finite_never_leaves(
    release: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_nan(release, level=255)
    gate = Gate(model := load_model(release), monkeypatch)
    white = np.full((CROP, CROP, 3), 255, np.uint8)

    async def scene(engine: Engine) -> None:
        tasks = [asyncio.create_task(engine.answer(pixels()))]
        await gate.begun()
        tasks += [asyncio.create_task(engine.answer(image, "r-9")) for image in (pixels(1), white, pixels(2))]
        await waiting(4, engine)
        gate.let_through()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(one).__name__ for one in found] == ["Answer", "Answer", "AnswerFailed", "Answer"]
        assert gate.batches == [1, 3]

    metrics = Metrics()
    with caplog.at_level(logging.ERROR, "graft.engine"):
        with_engine(model, scene, metrics)
    assert "graft_failed_answers_total 1.0" in metrics.exposition().decode()
    assert any("not finite (request r-9)" in record.getMessage() for record in caplog.records)


def test_beyond_the_queue_nobody_is_admitted_and_those_inside_are_answered(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(model, monkeypatch)

    async def scene(engine: Engine) -> None:
        inside = [asyncio.create_task(engine.answer(pixels(seed))) for seed in range(5)]
        await waiting(5, engine)
        for _ in range(3):
            with pytest.raises(Overloaded):
                await engine.answer(pixels())
        gate.let_through()
        assert len(await asyncio.gather(*inside)) == 5
        assert engine.admitted == 0
        assert engine.idle.is_set()
        await engine.answer(pixels())

    with_engine(model, scene, queue=5)


def test_many_images_of_one_request_are_answered_in_order_between_others(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(model, monkeypatch)

    async def scene(engine: Engine) -> None:
        images = np.stack([pixels(seed) for seed in range(20)])
        many = asyncio.create_task(engine.answer_many(images))
        await gate.begun()
        single = asyncio.create_task(engine.answer(pixels(99)))
        await waiting(21, engine)
        gate.let_through(3)
        await asyncio.wait_for(single, 30)
        assert not many.done()
        gate.let_through()
        answers = await many
        expected = model.opened.answers(images, 20)
        np.testing.assert_allclose([answer.probabilities for answer in answers], expected, atol=1e-6)
        assert gate.batches == [4, 4, 4, 4, 4, 1]

    with_engine(model, scene, queue=24)


def test_a_request_of_many_images_is_of_one_release_whatever_is_taken_over_meanwhile(
    model: Model, other: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(model, monkeypatch)

    async def scene(engine: Engine) -> None:
        images = [pixels(seed) for seed in range(9)]
        many = asyncio.create_task(engine.answer_many(images))
        await gate.begun()
        engine.take_over(other)
        late = asyncio.create_task(engine.answer(images[0]))
        await waiting(10, engine)
        gate.let_through()
        answers, last = await many, await late
        assert {answer.model.version for answer in answers} == {model.version}
        np.testing.assert_allclose(
            [answer.probabilities for answer in answers], model.opened.answers(np.stack(images), 9), atol=1e-6
        )
        assert last.model is other
        np.testing.assert_allclose(last.probabilities, other.opened.answer(images[0]), atol=1e-6)

    with_engine(model, scene)


def test_of_many_images_the_one_that_fails_is_named_and_the_rest_not_computed(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(model, monkeypatch)
    gate.let_through()

    async def scene(engine: Engine) -> None:
        with pytest.raises(UndecodableImage, match=r"^image 2: broken JPEG data") as caught:
            await engine.answer_many([photo(0), photo(1), photo(2)[:-200], *[photo(seed) for seed in range(30)]])
        assert caught.value.kind == "undecodable"
        await engine.answer(pixels())
        assert gate.batches == [3, 1]
        assert await engine.answer_many([]) == []

    with_engine(model, scene)


def test_of_many_images_a_header_that_is_refused_costs_no_batch(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(model, monkeypatch)
    gate.let_through()

    async def scene(engine: Engine) -> None:
        with pytest.raises(UndecodableImage, match=r"^image 2: not an image of an allowed format") as caught:
            await engine.answer_many([photo(0), photo(1), b"GIF??", photo(3)])
        assert caught.value.kind == "format"
        assert (engine.admitted, gate.batches) == (0, [])

    with_engine(model, scene)


def test_pixels_of_a_request_are_bounded_together_before_any_is_decoded(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(model, monkeypatch)
    gate.let_through()
    width, height = read_header(photo(0)).size
    three = 3 * width * height / 1e6

    async def scene(engine: Engine) -> None:
        assert len(await engine.answer_many([photo(seed) for seed in range(3)])) == 3
        with pytest.raises(TooManyPixels, match=r"the first 4 images .* megapixels together.* in several requests"):
            await engine.answer_many([photo(seed) for seed in range(5)])
        assert (engine.admitted, gate.batches) == (0, [3])
        assert len(await engine.answer_many([pixels(seed) for seed in range(9)])) == 9

    with_engine(model, scene, limits={"request_mpixels": three})


def test_a_request_of_many_images_takes_the_room_of_one_batch(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(model, monkeypatch)

    async def scene(engine: Engine) -> None:
        many = asyncio.create_task(engine.answer_many([pixels(seed) for seed in range(40)]))
        await gate.begun()
        singles = [asyncio.create_task(engine.answer(pixels(seed))) for seed in range(2)]
        await waiting(42, engine)
        with pytest.raises(Overloaded):
            await engine.answer(pixels())
        gate.let_through(3)
        assert len(await asyncio.wait_for(asyncio.gather(*singles), 30)) == 2
        assert not many.done()
        gate.let_through()
        assert len(await many) == 40

    with_engine(model, scene, queue=6, max_batch=4)


def test_a_request_that_is_not_answered_in_time_is_given_up_and_not_begun(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(model, monkeypatch)

    async def scene(engine: Engine) -> None:
        first = asyncio.create_task(engine.answer(pixels()))
        await gate.begun()
        late = asyncio.create_task(engine.answer(pixels(1)))
        found = await asyncio.gather(first, late, return_exceptions=True)
        assert [type(one) for one in found] == [Late, Late]
        assert engine.admitted == 0
        gate.let_through()
        while engine._busy_since:
            await asyncio.sleep(0.001)
        assert gate.batches == [1]

    with_engine(model, scene, limits={"answer_seconds": 0.05})


def test_a_thread_that_hangs_or_ended_makes_the_engine_lifeless(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(model, monkeypatch)

    async def scene(engine: Engine) -> None:
        assert engine.alive
        with pytest.raises(Late):
            await engine.answer(pixels())
        while engine.alive:
            await asyncio.sleep(0.001)
        gate.let_through()
        while not engine.alive:
            await asyncio.sleep(0.001)
        engine._queue.put(None)
        while engine.alive:
            await asyncio.sleep(0.001)

    with_engine(model, scene, limits={"answer_seconds": 0.05})


def test_work_of_a_client_that_left_is_not_begun_and_its_images_are_let_go(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(model, monkeypatch)

    async def scene(engine: Engine) -> None:
        first = asyncio.create_task(engine.answer(pixels()))
        await gate.begun()
        image = pixels(1)
        held = weakref.ref(image)
        left = asyncio.create_task(engine.answer(image))
        del image
        await waiting(2, engine)
        left.cancel()
        await asyncio.wait([left])
        assert left.cancelled()
        del left
        assert engine.admitted == 1
        gc.collect()
        assert held() is None
        gate.let_through()
        await first
        await engine.answer(pixels(2))
        assert gate.batches == [1, 1]

    with_engine(model, scene)


def test_what_a_client_left_while_its_batch_was_decoded_is_not_computed(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(model, monkeypatch)
    decoding, decoded = threading.Event(), threading.Event()
    whole = deploy.batch.prepared

    def slow(image: Any, *arguments: Any) -> UInt8Image:
        if isinstance(image, bytes):
            decoding.set()
            assert decoded.wait(30)
        return whole(image, *arguments)

    monkeypatch.setattr(deploy.batch, "prepared", slow)

    async def scene(engine: Engine) -> None:
        first = asyncio.create_task(engine.answer(pixels()))
        await gate.begun()
        stays = asyncio.create_task(engine.answer(photo(1)))
        leaves = asyncio.create_task(engine.answer(pixels(2)))
        await waiting(3, engine)
        gate.let_through()
        await asyncio.to_thread(decoding.wait, 30)
        leaves.cancel()
        await asyncio.wait([leaves])
        decoded.set()
        await asyncio.gather(first, stays)
        assert gate.batches == [1, 1]

    with_engine(model, scene)


def test_an_image_that_failed_is_let_go_without_the_garbage_collector(model: Model) -> None:
    async def scene(engine: Engine) -> None:
        image = np.zeros((CROP, CROP, 4), np.uint8)
        held = weakref.ref(image)
        task = asyncio.create_task(engine.answer(image))
        del image
        await asyncio.wait([task])
        assert "prepared pixels" in str(task.exception())
        del task
        await engine.answer(pixels())
        await asyncio.sleep(0)
        assert held() is None

    gc.collect()
    gc.disable()
    try:
        with_engine(model, scene)
    finally:
        gc.enable()


def test_stopping_answers_what_was_admitted_and_admits_no_more(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(model, monkeypatch)

    async def scene() -> None:
        engine = Engine(model, ServeParams(), Metrics())
        await engine.start()
        tasks = [asyncio.create_task(engine.answer(pixels(seed))) for seed in range(10)]
        await gate.begun()
        await waiting(10, engine)
        stop = asyncio.create_task(engine.stop())
        await asyncio.sleep(0)
        with pytest.raises(Stopping):
            await engine.answer(pixels())
        gate.let_through()
        await stop
        assert all(task.done() for task in tasks)
        assert len(await asyncio.gather(*tasks)) == 10

    asyncio.run(asyncio.wait_for(scene(), 60))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("answer-")]


def test_what_cannot_be_answered_in_time_is_told_that_the_server_ends(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(model, monkeypatch)

    async def scene() -> None:
        engine = Engine(model, ServeParams(drain_seconds=0.1), Metrics())
        await engine.start()
        tasks = [asyncio.create_task(engine.answer(pixels(seed))) for seed in range(6)]
        await gate.begun()
        await engine.stop()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(one) for one in found] == [Stopping] * 6
        gate.let_through()

    asyncio.run(asyncio.wait_for(scene(), 60))


def test_images_and_releases_are_counted(model: Model, other: Model) -> None:
    metrics = Metrics()

    async def scene(engine: Engine) -> None:
        await asyncio.gather(*(engine.answer(pixels(seed)) for seed in range(9)))
        engine.take_over(other)

    with_engine(model, scene, metrics)
    text = metrics.exposition().decode()
    assert "graft_batch_images_sum 9.0" in text
    assert "graft_queue_images 0.0" in text
    assert 'version="2"' in text


def test_a_thread_outlives_an_error_of_its_own(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    faults = [MemoryError("no more")]

    def answered(*arguments: Any) -> Any:
        if faults:
            raise faults.pop()
        return whole(*arguments)

    whole = deploy.engine.answered
    monkeypatch.setattr(deploy.engine, "answered", answered)

    async def scene(engine: Engine) -> None:
        with pytest.raises(AnswerFailed):
            await engine.answer(pixels())
        await engine.answer(pixels())

    with_engine(model, scene)


@pytest.mark.parametrize("step", ["_take", "_answer_waiting"])
def test_a_thread_outlives_an_error_between_two_batches_and_tells_who_waits(
    model: Model, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults, metrics, whole = [MemoryError("no more")], Metrics(), getattr(Engine, step)

    def failing(*arguments: Any) -> Any:
        done = whole(*arguments) if step == "_take" else None
        if faults:
            raise faults.pop()
        return done or whole(*arguments)

    monkeypatch.setattr(Engine, step, failing)

    async def scene(engine: Engine) -> None:
        with pytest.raises(AnswerFailed):
            await engine.answer(pixels())
        await engine.answer(pixels())
        assert engine.alive

    with_engine(model, scene, metrics)
    assert "graft_failed_answers_total 1.0" in metrics.exposition().decode()
