"""An inference request is understood as it was meant, or refused with what is wrong with it."""

from __future__ import annotations

import base64
import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from oip_scene import binary_body, elements, files_input, image_input, photo, pixels, request_body

from deploy.model import Model, load_model
from deploy.oip.refused import Refused
from deploy.oip.request import InferRequest, parse_request
from tasks.params.serve import ServeLimits

LIMITS = ServeLimits(images_per_request=4)
CROP = 32
SHAPE = [1, CROP, CROP, 3]
ONE = {"name": "image", "datatype": "UINT8", "shape": SHAPE}


@pytest.fixture(scope="module")
def model(release_template: Path) -> Model:
    return load_model(release_template)


def parsed(model: Model, body: bytes, header_length: int | None = None) -> InferRequest:
    return parse_request(body, header_length, model, LIMITS)


def refusal(model: Model, body: bytes | dict[str, Any], header_length: int | None = None) -> str:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(Refused) as caught:
        parsed(model, text, header_length)
    assert caught.value.status == 400
    return str(caught.value)


@pytest.mark.parametrize("flat", [False, True])
def test_pixels_in_json_flat_or_nested_are_the_pixels(model: Model, flat: bool) -> None:
    values = pixels(3, CROP)
    request = parsed(model, request_body(image_input(values, flat), id="a-7"))
    assert np.array_equal(np.stack([np.asarray(image) for image in request.images]), values)
    assert request.id == "a-7"
    assert [(one.tensor.name, one.binary, one.classes) for one in request.outputs] == [
        ("probabilities", False, 0), ("logits", False, 0), ("embedding", False, 0),
    ]  # fmt: skip


def test_pixels_as_binary_data_are_the_pixels(model: Model) -> None:
    values = pixels(2, CROP)
    request = parsed(model, *binary_body("image", values.shape, values.tobytes()))
    assert np.array_equal(np.stack([np.asarray(image) for image in request.images]), values)


def test_files_in_base64_and_as_binary_data_are_the_files(model: Model) -> None:
    files = [photo(1), photo(2, "JPEG")]
    assert parsed(model, request_body(files_input(files))).images == files
    assert parsed(model, *binary_body("encoded_image", [2], elements(files))).images == files
    escaped = request_body(files_input(files)).replace(b"/", b"\\/").replace(b"+", b"\\u002B")
    assert parsed(model, escaped).images == files
    of_request = files_input(files, parameters={})
    assert parsed(model, request_body(of_request, parameters={"content_type": "base64"})).images == files


def test_data_may_come_before_the_shape_and_unknown_or_null_fields_are_no_fault(model: Model) -> None:
    values = pixels(1, CROP)
    tensor = dict(reversed(image_input(values).items())) | {"parameters": None, "more": {"a": [1]}}
    request = parsed(model, request_body(tensor, id=None, outputs=None, parameters=None, model_name="x"))
    assert np.array_equal(np.asarray(request.images[0]), values[0])
    assert request.id is None


def test_outputs_are_those_asked_for_in_their_order_and_form(model: Model) -> None:
    asked = [
        {"name": "embedding", "parameters": {"binary_data": False}},
        {"name": "probabilities", "parameters": {"classification": 2}},
        {"name": "logits", "parameters": {"classification": 99, "binary_data": True}},
    ]
    body = request_body(image_input(pixels(1, CROP)), outputs=asked, parameters={"binary_data_output": True})
    found = [(one.tensor.name, one.binary, one.classes) for one in parsed(model, body).outputs]
    assert found == [("embedding", False, 0), ("probabilities", True, 2), ("logits", True, 3)]


def tensor(**changes: Any) -> dict[str, Any]:
    whole = {**ONE, "data": [0] * (CROP * CROP * 3), **changes}
    return {"inputs": [{key: value for key, value in whole.items() if value is not ...}]}


def output(**fields: Any) -> dict[str, Any]:
    return {**tensor(), "outputs": [fields]}


def files(*data: Any, **changes: Any) -> dict[str, Any]:
    parameters = {"content_type": "base64"}
    fields = {"name": "encoded_image", "datatype": "BYTES", "shape": [len(data)], "parameters": parameters}
    return {"inputs": [{**fields, "data": list(data), **changes}]}


FAULTS: list[tuple[dict[str, Any], str]] = [
    ({}, "`inputs` must be an array, not null or missing"),
    ({"inputs": {}}, "`inputs` must be an array, not an object"),
    ({"inputs": []}, "exactly one tensor, image or encoded_image; it holds 0"),
    ({"inputs": [{}, {}]}, "it holds 2"),
    ({"inputs": [7]}, "inputs[0] must be an object, not a number"),
    (tensor(name=...), "inputs[0].name must be a text"),
    (tensor(name="imagE"), "unknown input 'imagE'; did you mean 'image'?"),
    (tensor(name="x" * 5000), "unknown input 'xxx"),
    (tensor(datatype="FP32"), "input 'image' has datatype 'FP32', the model takes UINT8"),
    (tensor(datatype="BYTES"), "the model takes UINT8"),
    (tensor(datatype=None), "datatype of input 'image' must be a text"),
    (tensor(shape=...), "shape of input 'image' must be an array"),
    (tensor(shape=[CROP, CROP, 3]), "has shape [32, 32, 3], the model takes [-1, 32, 32, 3]"),
    (tensor(shape=[1, 3, CROP, CROP]), "the model takes [-1, 32, 32, 3]"),
    (tensor(shape=[-1, CROP, CROP, 3]), "must not be negative, it is -1"),
    (tensor(shape=[1.0, CROP, CROP, 3]), "must be a whole number, not a number with a fraction"),
    (tensor(shape=[True, CROP, CROP, 3]), "must be a whole number, not true or false"),
    (tensor(shape=["1", CROP, CROP, 3]), "must be a whole number, not a text"),
    (tensor(shape=[10**30, CROP, CROP, 3]), "1 to 4 are allowed in one request"),
    (tensor(shape=[0, CROP, CROP, 3], data=[]), "holds 0 images; 1 to 4 are allowed"),
    (tensor(shape=[5, CROP, CROP, 3]), "holds 5 images; 1 to 4 are allowed"),
    (tensor(shape=[2, CROP, CROP, 3]), "fewer numbers than the 6144"),
    (tensor(data=[0] * (CROP * CROP * 3 + 1)), "more numbers than the 3072"),
    (tensor(data=...), "neither `data` nor the parameter binary_data_size"),
    (tensor(data="AAAA"), "`data` of input 'image' must be an array of integers from 0 to 255"),
    (tensor(data=["AAAA"]), "must be an array of integers from 0 to 255"),
    (tensor(data={}), "must be an array of integers from 0 to 255"),
    (tensor(data=[256] * (CROP * CROP * 3)), "integers from 0 to 255"),
    (tensor(parameters=[]), "parameters of input 'image' must be an object"),
    (tensor(parameters={"binary_data_size": 3}), "has both `data` and binary_data_size"),
    (tensor(data=..., parameters={"binary_data_size": 3}), "no Inference-Header-Content-Length header"),
    (tensor(data=..., parameters={"shared_memory_region": "r"}), "names a shared memory region"),
    (files("AAAA", parameters={}), "needs the parameter content_type: base64"),
    (files("AAAA", parameters={"content_type": "str"}), "needs the parameter content_type: base64"),
    (files("AAAA", shape=[2]), "holds 1 elements, its shape says 2"),
    (files("AAA"), "element 0 of input 'encoded_image' is no base64"),
    (files("AAAA", "A*AA"), "element 1 of input 'encoded_image' is no base64"),
    (files("AA\u00e9A"), "is no base64: it holds escaped characters"),
    (files("AAAA", None), "must be a flat array of base64 texts"),
    (files(["AAAA"]), "must be a flat array of base64 texts"),
    (files("AAAA", data=[1]), "must be a flat array of base64 texts"),
    (files("AAAA", data="AAAA"), "must be a flat array of base64 texts"),
    (files("AAAA", shape=[1, 1]), "has shape [1, 1], the model takes [-1]"),
    ({**tensor(), "id": 7}, "`id` must be a text"),
    ({**tensor(), "id": "x" * 2000}, "`id` has 2000 characters, 1024 are allowed"),
    ({**tensor(), "parameters": "x"}, "`parameters` must be an object"),
    ({**tensor(), "parameters": {"binary_data_output": 1}}, "binary_data_output must be true or false"),
    ({**tensor(), "outputs": {}}, "`outputs` must be an array"),
    ({**tensor(), "outputs": [1]}, "outputs[0] must be an object"),
    ({**tensor(), "outputs": [{"name": "logits"}, {"name": "logits"}]}, "`outputs` names 'logits' twice"),
    (output(name="logit"), "unknown output 'logit'; did you mean 'logits'?"),
    (output(), "outputs[0].name must be a text"),
    (output(name="logits", parameters={"binary_data": 0}), "binary_data of output 'logits' must be true or false"),
    (output(name="logits", parameters={"classification": 0}), "must be at least 1, not 0"),
    (output(name="logits", parameters={"classification": -3}), "must not be negative"),
    (output(name="logits", parameters={"classification": "3"}), "must be a whole number"),
    (output(name="embedding", parameters={"classification": 1}), "output 'embedding' has no classes"),
    (output(name="logits", parameters={"shared_memory_region": "r"}), "names a shared memory region"),
]


@pytest.mark.parametrize(("document", "why"), FAULTS, ids=[str(number) for number in range(len(FAULTS))])
def test_a_request_at_fault_is_told_what_is_wrong(model: Model, document: dict[str, Any], why: str) -> None:
    assert why in refusal(model, document)


def test_lengths_of_binary_data_that_lie_are_refused(model: Model) -> None:
    values = pixels(1, CROP).tobytes()
    body, head = binary_body("image", SHAPE, values)
    assert "is 99999999, but the body has" in refusal(model, body, 99_999_999)
    assert "raw requests are not supported" in refusal(model, body, 0)
    assert "ends at byte" in refusal(model, body)
    refusal(model, body, head - 1)
    refusal(model, body, head + 1)
    assert "1 bytes of binary data belong to no input" in refusal(model, body + b"x", head)
    assert "3071 bytes of binary data are left" in refusal(model, body[:-1], head)
    assert "has 3071 bytes of binary data, shape" in refusal(model, *binary_body("image", SHAPE, values[1:]))
    huge = body.replace(b'"binary_data_size": 3072', b'"binary_data_size": 99999999999999999999')
    assert "are left" in refusal(model, huge, huge.index(values))
    plain = request_body(image_input(pixels(1, CROP)))
    assert "5 bytes of binary data belong to no input" in refusal(model, plain + b"12345", len(plain))


@pytest.mark.parametrize(
    ("data", "count", "why"),
    [
        (b"", 1, "has 0 elements in its binary data, its shape says 1"),
        (b"\x01\x00\x00", 1, "has 0 elements"),
        (b"\x05\x00\x00\x00abcd", 1, "claims 5 bytes, but 4 follow"),
        (b"\xff\xff\xff\xffabcd", 1, "claims 4294967295 bytes, but 4 follow"),
        (elements([b"ab"]), 2, "has 1 elements in its binary data, its shape says 2"),
        (elements([b"ab", b"c"]), 1, "has 5 bytes after the 1 elements"),
    ],
)
def test_elements_that_do_not_fit_their_lengths_are_refused(model: Model, data: bytes, count: int, why: str) -> None:
    assert why in refusal(model, *binary_body("encoded_image", [count], data))


def test_a_request_takes_at_most_three_times_its_body_beside_it(model: Model) -> None:
    file = np.random.default_rng(3).bytes(3_000_000)
    bodies: list[tuple[bytes, int | None]] = [
        (request_body(files_input([file] * 4)), None),
        (request_body(files_input([file] * 4)).replace(b"/", b"\\/"), None),
        binary_body("encoded_image", [4], elements([file] * 4)),
        (json.dumps({"inputs": [{"data": [base64.b64encode(file).decode()] * 5}]}).encode(), None),
    ]
    for body, header_length in bodies:
        tracemalloc.start()
        try:
            parsed(model, body, header_length)
        except Refused:
            pass
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert peak < 3 * len(body) + 5_000_000
