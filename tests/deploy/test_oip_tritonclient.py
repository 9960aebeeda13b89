"""The server as Triton's own client sees it, over a socket."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from oip_scene import photo, pixels
from running_server import RunningServer, running_server

from deploy.model import Model, load_model

triton = pytest.importorskip("tritonclient.http")
aio = pytest.importorskip("tritonclient.http.aio")
InferenceServerException = pytest.importorskip("tritonclient.utils").InferenceServerException

CROP = 32
NAME = "made-up"


@pytest.fixture(scope="module")
def model(release_template: Path) -> Model:
    return load_model(release_template)


@pytest.fixture(scope="module")
def server(release_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("triton")
    with running_server("--release", str(release_template), folder=folder) as running:
        yield running


@pytest.fixture
def client(server: RunningServer) -> Iterator[Any]:
    with triton.InferenceServerClient(server.address) as made:
        yield made


def image_input(values: Any, binary: bool = True) -> Any:
    tensor = triton.InferInput("image", list(values.shape), "UINT8")
    return tensor.set_data_from_numpy(values, binary_data=binary)


def files_input(files: list[bytes]) -> Any:
    tensor = triton.InferInput("encoded_image", [len(files)], "BYTES")
    return tensor.set_data_from_numpy(np.array(files, dtype=np.object_))


def refusal(call: Any, *arguments: Any, **named: Any) -> Any:
    with pytest.raises(InferenceServerException) as caught:
        call(*arguments, **named)
    return caught.value


def test_health_and_metadata_are_found(client: Any, model: Model) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(NAME)
    assert client.is_model_ready(NAME, model.version)
    assert not client.is_model_ready(NAME, "999")
    assert not client.is_model_ready("other")
    assert "classification" in client.get_server_metadata()["extensions"]
    assert client.get_model_metadata(NAME)["inputs"][0] == {
        "name": "image", "datatype": "UINT8", "shape": [-1, CROP, CROP, 3],
    }  # fmt: skip
    assert client.get_model_config(NAME, model.version)["backend"] == "onnxruntime"
    assert client.get_model_repository_index()[0]["state"] == "READY"


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
def test_pixels_are_answered_in_json_and_in_binary(
    client: Any, model: Model, binary_in: bool, binary_out: bool
) -> None:
    values = pixels(3, CROP)
    outputs = [triton.InferRequestedOutput(name, binary_data=binary_out) for name in ("logits", "embedding")]
    result = client.infer(NAME, [image_input(values, binary_in)], outputs=outputs, request_id="t-1")
    expected = model.run(values)
    assert np.allclose(result.as_numpy("logits"), expected.logits, rtol=0, atol=1e-5)
    assert np.allclose(result.as_numpy("embedding"), expected.embedding, rtol=0, atol=1e-5)
    assert result.as_numpy("logits").dtype == np.float32
    assert result.as_numpy("probabilities") is None
    assert result.get_response()["id"] == "t-1"
    assert result.get_response()["model_version"] == model.version


def test_without_outputs_all_come_and_in_binary(client: Any, model: Model) -> None:
    result = client.infer(NAME, [image_input(pixels(2, CROP))], model_version=model.version)
    assert [result.as_numpy(name).shape for name in ("probabilities", "logits", "embedding")] == [
        (2, 3),
        (2, 3),
        (2, 8),
    ]


def test_image_files_are_answered_as_prepared_pixels_are(client: Any, model: Model) -> None:
    files = [photo(1), photo(2, "JPEG"), photo(3, "GIF")]
    prepared = np.stack([model.opened.preprocess.prepare(file) for file in files])
    by_files = client.infer(NAME, [files_input(files)]).as_numpy("probabilities")
    by_pixels = client.infer(NAME, [image_input(prepared)]).as_numpy("probabilities")
    assert np.allclose(by_files, by_pixels, rtol=0, atol=1e-6)


@pytest.mark.parametrize("binary", [True, False])
def test_class_count_gives_labels(client: Any, model: Model, binary: bool) -> None:
    values = pixels(2, CROP)
    output = triton.InferRequestedOutput("probabilities", binary_data=binary, class_count=2)
    found = client.infer(NAME, [image_input(values)], outputs=[output]).as_numpy("probabilities")
    assert found.shape == (2, 2)
    for row, scores in zip(found, model.run(values).probabilities, strict=True):
        for text, place in zip(row, np.argsort(-scores), strict=False):
            value, index, label = (text.decode() if isinstance(text, bytes) else text).split(":")
            assert (int(index), label) == (place, model.labels[place])
            assert float(value) == pytest.approx(float(scores[place]), abs=1e-5)


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_compressed_requests_are_answered_and_replies_come_plain(client: Any, coding: str) -> None:
    named = {"request_compression_algorithm": coding, "response_compression_algorithm": coding}
    assert client.infer(NAME, [image_input(pixels(1, CROP))], **named).as_numpy("logits").shape == (1, 3)


def test_faults_come_as_exceptions_with_clear_text(client: Any) -> None:
    wrong_shape = refusal(client.infer, NAME, [image_input(np.zeros((1, 3, CROP, CROP), np.uint8))])
    assert (wrong_shape.status(), "the model takes [-1, 32, 32, 3]" in wrong_shape.message()) == ("400", True)
    tensor = triton.InferInput("image", [1, CROP, CROP, 3], "FP32")
    tensor.set_data_from_numpy(np.zeros((1, CROP, CROP, 3), np.float32))
    wrong_type = refusal(client.infer, NAME, [tensor])
    assert wrong_type.message() == "input 'image' has datatype 'FP32', the model takes UINT8"
    many = refusal(client.infer, NAME, [image_input(np.zeros((65, CROP, CROP, 3), np.uint8))])
    assert "1 to 64 are allowed in one request" in many.message()
    broken = refusal(client.infer, NAME, [files_input([photo(1), photo(2)[:99]])])
    assert broken.status() == "422"
    assert "image 1" in broken.message()
    unknown = triton.InferRequestedOutput("scores")
    assert (
        "unknown output 'scores'"
        in refusal(client.infer, NAME, [image_input(pixels(1, CROP))], outputs=[unknown]).message()
    )
    assert refusal(client.infer, "other", [image_input(pixels(1, CROP))]).status() == "404"
    assert refusal(client.get_model_metadata, NAME, "999").status() == "404"
    memory = triton.InferInput("image", [1, CROP, CROP, 3], "UINT8")
    memory.set_shared_memory("region", 3072)
    assert "shared memory" in refusal(client.infer, NAME, [memory]).message()


@pytest.mark.parametrize("call", ["load_model", "unload_model"])
def test_no_client_changes_what_is_served(client: Any, call: str) -> None:
    fault = refusal(getattr(client, call), NAME)
    assert fault.status() in ("403", "404")
    assert client.is_model_ready(NAME)


def test_statistics_count_what_was_asked(client: Any, model: Model) -> None:
    def images() -> int:
        return int(client.get_inference_statistics(NAME, model.version)["model_stats"][0]["inference_count"])

    before = images()
    client.infer(NAME, [image_input(pixels(5, CROP))])
    assert images() == before + 5


def test_asynchronous_requests_on_many_connections_are_each_answered(server: RunningServer, model: Model) -> None:
    values = [pixels(1, CROP, seed) for seed in range(12)]
    with triton.InferenceServerClient(server.address, concurrency=4) as client:
        waiting = [client.async_infer(NAME, [image_input(one)]) for one in values]
        found = [one.get_result().as_numpy("logits")[0] for one in waiting]
    assert np.allclose(found, model.run(np.concatenate(values)).logits, rtol=0, atol=1e-5)


def test_the_asyncio_client_is_answered_too(server: RunningServer, model: Model) -> None:
    values = pixels(2, CROP, 4)

    async def ask() -> Any:
        async with aio.InferenceServerClient(server.address) as client:
            assert await client.is_model_ready(NAME)
            many = await asyncio.gather(*(client.infer(NAME, [image_input(values)]) for _ in range(4)))
            with pytest.raises(InferenceServerException, match="unknown model"):
                await client.infer("other", [image_input(values)])
            return [one.as_numpy("probabilities") for one in many]

    for one in asyncio.run(ask()):
        assert np.allclose(one, model.run(values).probabilities, rtol=0, atol=1e-6)
