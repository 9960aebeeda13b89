"""What is answered under /v2, by status, body and headers."""

from __future__ import annotations

import gzip
import json
import struct
import sys
import threading
import zlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from oip_scene import (
    HEADER_LENGTH,
    binary_body,
    client_of,
    elements,
    files_input,
    image_input,
    photo,
    pixels,
    request_body,
    worker_of,
)
from small_release import make_release

from deploy.model import Model, load_model
from deploy.oip import infer
from deploy.oip.infer import SMALL_JSON
from deploy.oip.request import parse_request
from deploy.worker import Worker

CROP = 32


@pytest.fixture(scope="module")
def model(release_template: Path) -> Model:
    return load_model(release_template, "3")


@pytest.fixture
def worker(model: Model, release_template: Path) -> Worker:
    limits = {"images_per_request": 4, "body_mb": 0.2}
    return worker_of(model, release_template, limits=limits, queue=8, max_batch=2)


@pytest.fixture
def client(worker: Worker) -> Iterator[TestClient]:
    with client_of(worker) as made:
        yield made


INFER = "/v2/models/made-up/infer"


def split(reply: Any) -> tuple[dict[str, Any], bytes]:
    length = int(reply.headers[HEADER_LENGTH])
    return json.loads(reply.content[:length]), reply.content[length:]


def infer_binary(client: TestClient, body: bytes, head: int, path: str = INFER, **headers: str) -> Any:
    return client.post(path, content=body, headers={HEADER_LENGTH: str(head), **headers})


def test_the_server_tells_of_itself_and_of_its_model(client: TestClient, model: Model) -> None:
    server = client.get("/v2").json()
    assert server["name"] == "graft"
    assert "binary_tensor_data" in server["extensions"]
    assert client.get("/v2/models").json() == {"models": ["made-up"]}
    index = client.post("/v2/repository/index").json()
    assert index == [{"name": "made-up", "version": "3", "state": "READY", "reason": ""}]
    for path in ("/v2/models/made-up", "/v2/models/made-up/versions/3"):
        assert client.get(path).json() == {
            "name": "made-up",
            "versions": ["3"],
            "platform": "onnxruntime_onnx",
            "inputs": [
                {"name": "image", "datatype": "UINT8", "shape": [-1, CROP, CROP, 3]},
                {"name": "encoded_image", "datatype": "BYTES", "shape": [-1]},
            ],
            "outputs": [
                {"name": "probabilities", "datatype": "FP32", "shape": [-1, 3]},
                {"name": "logits", "datatype": "FP32", "shape": [-1, 3]},
                {"name": "embedding", "datatype": "FP32", "shape": [-1, 8]},
            ],
            "parameters": {"manifest_sha256": model.digest},
        }
        assert client.get(f"{path}/ready").json() == {"name": "made-up", "ready": True}
        assert client.get(f"{path}/config").json()["max_batch_size"] == 4


def test_a_worker_that_drains_lives_but_is_not_ready(client: TestClient, worker: Worker) -> None:
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}
    worker.admission.draining = True
    assert client.get("/v2/health/live").status_code == 200
    for path in ("/v2/health/ready", "/v2/models/made-up/ready", "/v2/models/made-up/versions/3/ready"):
        reply = client.get(path)
        assert (reply.status_code, list(reply.json())) == (503, ["error"])
        assert reply.headers["Retry-After"] == "1"


@pytest.mark.parametrize(
    "path",
    ["", "/config", "/ready", "/stats", "/versions/4", "/versions/4/config", "/versions/4/ready", "/versions/4/stats"],
)
def test_another_model_or_version_is_not_found(client: TestClient, path: str) -> None:
    name = "made-up" if "versions" in path else "other"
    reply = client.get(f"/v2/models/{name}{path}")
    assert (reply.status_code, list(reply.json())) == (404, ["error"])
    assert ("'3' is served" if "versions" in path else "known: made-up") in reply.json()["error"]


@pytest.mark.parametrize("path", ["/v2/models/other/infer", "/v2/models/made-up/versions/4/infer"])
def test_an_inference_of_another_model_is_not_found_whatever_its_body(client: TestClient, path: str) -> None:
    assert client.post(path, content=b"\x00" * 100).status_code == 404


def test_paths_and_methods_that_are_none_have_error_objects(client: TestClient) -> None:
    for method, path, status in [("GET", "/v2/nothing", 404), ("GET", INFER, 405), ("DELETE", "/v2", 405)]:
        reply = client.request(method, path)
        assert (reply.status_code, list(reply.json())) == (status, ["error"])


def test_answers_are_the_models_own_in_every_form(client: TestClient, model: Model) -> None:
    values = pixels(3, CROP)
    expected = model.run(values)
    parts = {name: getattr(expected, name) for name in ("probabilities", "logits", "embedding")}
    nested = client.post(INFER, content=request_body(image_input(values), id="n-1")).json()
    flat = client.post(INFER, content=request_body(image_input(values, flat=True), id="n-1")).json()
    assert nested == flat
    assert (nested["id"], nested["model_name"], nested["model_version"]) == ("n-1", "made-up", "3")
    for output in nested["outputs"]:
        wanted = parts[output["name"]]
        assert (output["datatype"], output["shape"]) == ("FP32", list(wanted.shape))
        assert np.allclose(np.reshape(output["data"], output["shape"]), wanted, rtol=0, atol=1e-6)
    binary = binary_body("image", values.shape, values.tobytes(), parameters={"binary_data_output": True})
    head, data = split(infer_binary(client, *binary, path="/v2/models/made-up/versions/3/infer"))
    assert "id" not in head
    for output in head["outputs"]:
        size = output["parameters"]["binary_data_size"]
        found, data = np.frombuffer(data[:size], "<f4").reshape(output["shape"]), data[size:]
        assert np.allclose(found, parts[output["name"]], rtol=0, atol=1e-6)
        assert "data" not in output
    assert data == b""


def test_image_files_are_prepared_as_predict_prepares_them(client: TestClient, model: Model) -> None:
    files = [photo(1), photo(2, "JPEG"), photo(3, "WEBP", (90, 33))]
    wanted = [{"name": "probabilities", "parameters": {"classification": 3}}]
    in_json = client.post(INFER, content=request_body(files_input(files), outputs=wanted)).json()
    body = binary_body("encoded_image", [3], elements(files), outputs=wanted)
    assert infer_binary(client, *body).json() == in_json
    assert (in_json["outputs"][0]["datatype"], in_json["outputs"][0]["shape"]) == ("BYTES", [3, 3])
    for number, file in enumerate(files):
        top = client.post("/predict", content=file).json()["predictions"]
        for place, text in enumerate(in_json["outputs"][0]["data"][3 * number : 3 * number + 3]):
            value, index, label = text.split(":")
            assert (label, model.labels[int(index)]) == (top[place]["label"], label)
            assert float(value) == pytest.approx(top[place]["probability"], abs=2e-6)


def test_outputs_in_json_and_as_binary_data_may_be_mixed(client: TestClient) -> None:
    asked = [
        {"name": "logits", "parameters": {"binary_data": True, "classification": 2}},
        {"name": "embedding"},
        {"name": "probabilities", "parameters": {"binary_data": True}},
    ]
    head, data = split(client.post(INFER, content=request_body(image_input(pixels(1, CROP)), outputs=asked)))
    labels, embedding, probabilities = head["outputs"]
    assert [len(embedding["data"]), embedding.get("parameters")] == [8, None]
    size = labels["parameters"]["binary_data_size"]
    (length,) = struct.unpack_from("<I", data)
    assert data[4 : 4 + length].decode().count(":") == 2
    assert np.frombuffer(data[size:], "<f4").sum() == pytest.approx(1, abs=1e-5)
    assert probabilities["parameters"]["binary_data_size"] == len(data) - size == 12


@pytest.mark.parametrize(("name", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_compressed_bodies_are_opened_up_to_the_limit(client: TestClient, name: str, compress: Any) -> None:
    body, head = binary_body("image", (1, CROP, CROP, 3), pixels(1, CROP).tobytes())
    plain = infer_binary(client, body, head).json()
    headers = {"content-encoding": name}
    assert infer_binary(client, compress(body), head, **headers).json() == plain
    assert infer_binary(client, compress(body).upper(), head, **headers).status_code == 400
    assert infer_binary(client, compress(body)[:-3], head, **headers).status_code == 400
    assert infer_binary(client, compress(body) + b"x", head, **headers).status_code == 400
    bomb = infer_binary(client, compress(body + b" " * 50_000_000), head, **headers)
    assert bomb.status_code == 413
    assert "when decompressed" in bomb.json()["error"]


def test_other_encodings_and_large_or_missing_bodies_are_refused(client: TestClient) -> None:
    assert client.post(INFER, content=b"{}", headers={"content-encoding": "br"}).status_code == 415
    assert client.post(INFER, content=b" " * 300_000).status_code == 413
    assert client.post(INFER).status_code in (400, 411)
    for length in ("x", "-1", "1.0", "", "1, 2", "9" * 30, "\u00b2"):
        reply = client.post(INFER, content=b"{}", headers={HEADER_LENGTH.encode(): length.encode()})
        assert reply.status_code == 400
        assert HEADER_LENGTH in reply.json()["error"]


def test_an_image_that_cannot_be_read_is_named_by_its_place(client: TestClient) -> None:
    files = [photo(1), photo(2)[:200], photo(3)]
    reply = client.post(INFER, content=request_body(files_input(files)))
    assert reply.status_code == 422
    assert "image 1" in reply.json()["error"]
    no_image = client.post(INFER, content=request_body(files_input([b"%PDF-1.4 text"])))
    assert (no_image.status_code, list(no_image.json())) == (415, ["error"])


def test_a_large_request_is_read_beside_the_event_loop_and_answered(client: TestClient) -> None:
    values = pixels(4, CROP, seed=9)
    body = request_body(image_input(values))
    assert len(body) > SMALL_JSON
    reply = client.post(INFER, content=body)
    assert reply.json()["outputs"][0]["shape"] == [4, 3]
    assert client.post(INFER, content=body.replace(b"0]", b"x]", 1)).status_code == 400


def test_nobody_waits_for_a_large_request_that_is_being_read(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on, statuses = threading.Event(), threading.Event(), list[int]()
    large, middling = (request_body(image_input(pixels(count, CROP, 3))) for count in (4, 2))
    small = binary_body("image", (1, CROP, CROP, 3), b"7" * 3072)

    def held(body: bytes, *rest: Any) -> Any:
        if len(body) == len(large):
            begun.set()
            assert go_on.wait(60)
        return parse_request(body, *rest)

    monkeypatch.setattr(infer, "parse_request", held)
    monkeypatch.setattr(infer, "LARGE_BODY", len(large) - 1)
    asking = threading.Thread(target=lambda: statuses.append(client.post(INFER, content=large).status_code))
    asking.start()
    assert begun.wait(60)
    assert client.post(INFER, content=middling).status_code == 200
    assert infer_binary(client, *small).status_code == 200
    assert statuses == []
    go_on.set()
    asking.join(60)
    assert statuses == [200]


def test_images_are_counted_against_the_queue(client: TestClient, worker: Worker) -> None:
    worker.engine.counted += 8
    reply = client.post(INFER, content=request_body(image_input(pixels(1, CROP))))
    worker.engine.counted -= 8
    assert (reply.status_code, list(reply.json())) == (503, ["error"])
    assert "Retry-After" in reply.headers


def test_statistics_count_requests_and_images(client: TestClient) -> None:
    client.post(INFER, content=request_body(image_input(pixels(2, CROP))))
    client.post(INFER, content=request_body(image_input(pixels(3, CROP))))
    client.post(INFER, content=b"{}")
    for path in ("/v2/models/made-up/stats", "/v2/models/made-up/versions/3/stats", "/v2/models/stats"):
        (found,) = client.get(path).json()["model_stats"]
        assert (found["name"], found["version"], found["inference_count"]) == ("made-up", "3", 5)
        assert found["last_inference"] > 1_600_000_000_000
        assert [found["inference_stats"][kind]["count"] for kind in ("success", "fail")] == [2, 1]
        assert found["inference_stats"]["success"]["ns"] > 0


def test_refusals_are_counted_by_reason(client: TestClient, worker: Worker) -> None:
    client.post(INFER, content=b"{}")
    client.post(INFER, content=request_body(files_input([photo(1)[:100]])))
    text = worker.metrics.exposition().decode()
    assert 'graft_rejected_total{reason="body"} 1.0' in text
    assert 'graft_rejected_total{reason="undecodable"} 1.0' in text


def test_a_reload_changes_what_is_served_and_a_pinned_version_is_gone(
    client: TestClient, worker: Worker, model: Model, tmp_path: Path
) -> None:
    body = request_body(image_input(pixels(1, CROP)))
    before = client.post(INFER, content=body).json()
    other = load_model(make_release(tmp_path / "other", seed=5), "4")
    worker.engine.take_over(other)
    after = client.post(INFER, content=body).json()
    assert (before["model_version"], after["model_version"]) == ("3", "4")
    assert before["outputs"][0]["data"] != after["outputs"][0]["data"]
    assert client.post("/v2/models/made-up/versions/3/infer", content=body).status_code == 404
    assert client.post("/v2/models/made-up/versions/4/infer", content=body).status_code == 200
    assert client.get("/v2/models/made-up").json()["versions"] == ["4"]


def test_a_version_that_goes_while_its_request_waits_is_gone_too(
    client: TestClient, worker: Worker, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = replace(model, version="4")
    answer_many = worker.engine.answer_many

    async def answer_later(images: Any, request_id: str = "") -> Any:
        worker.engine.take_over(later)
        return await answer_many(images, request_id)

    monkeypatch.setattr(worker.engine, "answer_many", answer_later)
    body = request_body(image_input(pixels(1, CROP)))
    assert client.post("/v2/models/made-up/versions/3/infer", content=body).status_code == 404
    worker.engine.take_over(model)
    assert client.post(INFER, content=body).json()["model_version"] == "4"


def test_what_is_answered_is_offered_to_the_capture(worker: Worker) -> None:
    offered: list[tuple[str, bytes | None, str]] = []

    class Kept:
        def offer(self, request_id: str, data: bytes | None, answer: Any) -> None:
            offered.append((request_id, data, answer.model.version))

    with_capture = replace(worker, capture=Kept())
    with client_of(with_capture) as capturing:
        headers = {"X-Request-Id": "r-1"}
        files = [photo(1), photo(2)]
        capturing.post(INFER, content=request_body(files_input(files)), headers=headers)
        capturing.post(INFER, content=request_body(image_input(pixels(1, CROP))), headers=headers)
    assert offered == [("r-1", files[0], "3"), ("r-1", files[1], "3"), ("r-1", None, "3")]


@pytest.mark.parametrize("small_json", [SMALL_JSON, 0], ids=["read in the loop", "read in a thread"])
def test_a_body_does_not_wait_with_its_images(
    worker: Worker, client: TestClient, monkeypatch: pytest.MonkeyPatch, small_json: int
) -> None:
    body = request_body(files_input([photo()]))
    holders = list[int]()
    answer_many = worker.engine.answer_many

    async def given(*_: object) -> AsyncIterator[bytes]:
        yield body

    async def counted(*asked: Any) -> Any:
        holders.append(sys.getrefcount(body))
        return await answer_many(*asked)

    monkeypatch.setattr(infer, "SMALL_JSON", small_json)
    monkeypatch.setattr(infer, "body_chunks", given)
    monkeypatch.setattr(worker.engine, "answer_many", counted)
    alone = sys.getrefcount(body)
    assert client.post(INFER, content=b"x").status_code == 200
    assert holders == [alone]
