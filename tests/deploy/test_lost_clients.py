"""A client that goes takes its request with it: nothing is begun for it any more, and the log says so."""

from __future__ import annotations

import asyncio
import logging
import threading
from pathlib import Path
from typing import Any

import pytest
from app_scene import png
from oip_scene import files_input, request_body, worker_of
from protocol_scene import PATIENCE, ProtocolScene, SmallApp, protocol_scene, wait_until

from deploy.app import compose
from deploy.model import Model, Outputs, load_model
from deploy.worker import Worker
from tasks.preprocess import UInt8Image

INFER = "/v2/models/made-up/infer"


class WholeApp(SmallApp):
    """The application itself, over one worker."""

    def __init__(self, worker: Worker) -> None:
        super().__init__()
        self.worker, self._app = worker, compose(worker)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self._app(scope, receive, send)


class HeldModel:
    """Runs of the model wait until they are let through; `images` counts those that were begun."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.images, self.free = 0, threading.Event()
        run = Model.run

        def held(model: Model, images: UInt8Image) -> Outputs:
            self.images += len(images)
            assert self.free.wait(PATIENCE)
            return run(model, images)

        monkeypatch.setattr(Model, "run", held)


def in_loop(scene: ProtocolScene, work: Any) -> None:
    asyncio.run_coroutine_threadsafe(work, scene.loop).result(PATIENCE)


def lines(caplog: pytest.LogCaptureFixture) -> dict[str, int]:
    """Status by request id."""
    fields = [getattr(one, "fields", {}) for one in list(caplog.records) if one.name == "graft.request"]
    return {one["request_id"]: one["status"] for one in fields}


def test_what_a_lost_client_asked_is_not_begun_and_its_line_says_499(
    release_template: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    model = load_model(release_template, "3")
    held = HeldModel(monkeypatch)
    worker = worker_of(model, release_template, max_batch=1)
    with protocol_scene(slots=9, app=WholeApp(worker)) as scene:
        in_loop(scene, worker.engine.start())
        stays, goes, many = scene.client(), scene.client(), scene.client()
        stays.post(png(), headers="X-Request-Id: stays\r\nContent-Type: image/png\r\n")
        wait_until(lambda: held.images == 1)
        goes.post(png(), headers="X-Request-Id: goes\r\nContent-Type: image/png\r\n")
        many.post(request_body(files_input([png()] * 20)), INFER, "X-Request-Id: many\r\n")
        wait_until(lambda: worker.engine.admitted == 22)
        assert scene.connections.admission.taken == 3
        goes.close()
        many.close()
        wait_until(lambda: scene.connections.admission.taken == 1)
        wait_until(lambda: worker.engine.admitted == 1)
        assert lines(caplog) == {"goes": 499, "many": 499}
        held.free.set()
        assert stays.reply().status == 200
        stays.post(png(), headers="X-Request-Id: again\r\nContent-Type: image/png\r\n")
        assert stays.reply().status == 200
        assert scene.connections.admission.taken == 0
        in_loop(scene, worker.engine.stop())
    assert held.images == 2
    assert lines(caplog) == {"goes": 499, "many": 499, "stays": 200, "again": 200}
    assert [one for one in caplog.records if one.levelno >= logging.ERROR] == []


def test_a_body_that_a_thread_reads_holds_its_slot_though_its_client_went(
    release_template: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, free = threading.Event(), threading.Event()

    def held_back(*_: Any) -> None:
        entered.set()
        assert free.wait(PATIENCE)
        raise ValueError("read in vain")

    monkeypatch.setattr("deploy.oip.infer.parse_request", held_back)
    worker = worker_of(load_model(release_template, "3"), release_template)
    with protocol_scene(slots=1, app=WholeApp(worker)) as scene:
        client = scene.client()
        client.post(b" " * 100_000, INFER)
        assert entered.wait(PATIENCE)
        client.close()
        wait_until(lambda: not scene.connections.connections)
        other = scene.client()
        other.post(b"{}", INFER)
        assert other.reply().status == 503
        free.set()
        wait_until(lambda: scene.connections.admission.taken == 0)
