"""What one request may cost: whatever it holds, others are answered beside it."""

from __future__ import annotations

import gzip
import struct
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from oip_scene import HEADER_LENGTH, binary_body, client_of, elements, photo, worker_of

from deploy.model import Model, Outputs, load_model
from tasks.preprocess import UInt8Image

INFER = "/v2/models/made-up/infer"
SIDE = 6300


@pytest.fixture(scope="module")
def model(release_template: Path) -> Model:
    return load_model(release_template, "3")


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def vast_png() -> bytes:
    """A 16-bit grey PNG of 40 megapixels, each of them sound, in 78 KB; 64 of them are 18 KB once gzip saw them."""
    header = struct.pack(">IIBBBBB", SIDE, SIDE, 16, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(SIDE * (2 * SIDE + 1)), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def predict(client: TestClient) -> int:
    return client.post("/predict", content=photo(), headers={"Content-Type": "image/png"}).status_code


def test_a_small_body_of_vast_images_is_refused_by_its_headers_and_others_are_answered(
    model: Model, release_template: Path
) -> None:
    data = elements([vast_png()] * 64)
    body, head = binary_body("encoded_image", [64], data)
    packed = gzip.compress(body)
    assert len(packed) < 200_000
    headers = {HEADER_LENGTH: str(head), "Content-Encoding": "gzip"}
    worker = worker_of(model, release_template)
    with client_of(worker) as client, ThreadPoolExecutor() as pool:
        asked = [pool.submit(client.post, INFER, content=packed, headers=headers) for _ in range(3)]
        assert [predict(client) for _ in range(20)] == [200] * 20
        replies = [one.result() for one in asked]
        assert {reply.status_code for reply in replies} == {422}
        assert "megapixels together, more than the 100 allowed" in replies[0].json()["error"]
        assert 'graft_rejected_total{reason="pixels"} 3.0' in client.get("/metrics").text


def test_others_are_answered_between_the_batches_of_a_request_of_many_images(
    model: Model, release_template: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, gate, run = threading.Event(), threading.Semaphore(0), Model.run

    def waiting(one: Model, images: UInt8Image) -> Outputs:
        entered.set()
        assert gate.acquire(timeout=30)
        return run(one, images)

    monkeypatch.setattr(Model, "run", waiting)
    body, head = binary_body("encoded_image", [20], elements([photo(seed) for seed in range(20)]))
    worker = worker_of(model, release_template, queue=4, max_batch=2)
    with client_of(worker) as client, ThreadPoolExecutor() as pool:
        many = pool.submit(client.post, INFER, content=body, headers={HEADER_LENGTH: str(head)})
        assert entered.wait(30)
        single = pool.submit(predict, client)
        while worker.engine.admitted < 21:
            time.sleep(0.001)
        for _ in range(3):
            gate.release()
        assert single.result(30) == 200
        assert not many.done()
        for _ in range(20):
            gate.release()
        assert many.result(30).status_code == 200


def test_a_request_that_waits_too_long_is_told_so(
    model: Model, release_template: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, run = threading.Event(), Model.run

    def waiting(one: Model, images: UInt8Image) -> Outputs:
        assert gate.wait(30)
        return run(one, images)

    monkeypatch.setattr(Model, "run", waiting)
    worker = worker_of(model, release_template, limits={"answer_seconds": 0.05})
    with client_of(worker) as client:
        assert client.get("/v2/health/ready").status_code == 200
        reply = client.post("/predict", content=photo(), headers={"Content-Type": "image/png"})
        assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")
        assert (reply.json()["error"]["code"], reply.json()["error"]["message"][:28]) == (
            "late",
            "there was no answer in 0.05 ",
        )
        while client.get("/v2/health/ready").status_code == 200:  # the thread is at that batch for longer, too
            pass
        assert client.get("/v2/models/made-up/ready").json()["error"] == (
            "this server does not answer; its log may tell why"
        )
        assert client.get("/v2/health/live").status_code == 200
        gate.set()
        while client.get("/v2/health/ready").status_code == 503:
            pass
