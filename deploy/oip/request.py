"""An inference request: its JSON, its tensors, and what it asks back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from deploy.model import Model
from deploy.oip.bytes_tensors import split_elements
from deploy.oip.fields import integer, listed, mapping, optional_bool, shape_of, text
from deploy.oip.number_arrays import Numbers, read_bytes
from deploy.oip.refused import Refused
from deploy.oip.strict_json import MOST_VALUES, Encoded, parse_object
from deploy.oip.tensors import OF_CLASSES, Tensor, inputs_of, outputs_of
from tasks.errors import did_you_mean
from tasks.params.serve import ServeLimits
from tasks.preprocess import UInt8Image

_LONGEST_ID = 1024
_BINARY_SIZE = "binary_data_size"


@dataclass(frozen=True)
class AskedOutput:
    """One output of the reply: as binary data or in JSON; `classes` > 0: that many labels, no numbers."""

    tensor: Tensor
    binary: bool
    classes: int = 0


@dataclass(frozen=True)
class InferRequest:
    """A request that holds every rule.

    Attributes:
        images: image files, or prepared (crop, crop, 3) uint8 arrays.
        id: of the client, given back.
    """

    images: list[bytes] | list[UInt8Image]
    outputs: list[AskedOutput]
    id: str | None = None


def parse_request(body: bytes, header_length: int | None, model: Model, limits: ServeLimits) -> InferRequest:
    """Read a request's body.

    Besides the body it holds at most: the JSON part once more, the tensors once (as bytes or pixels), and a few MB.

    Args:
        header_length: of Inference-Header-Content-Length, the bytes of JSON before the binary data; None: all is JSON.
    Raises:
        Refused: whatever is wrong with it, named.
    """
    if header_length is not None and header_length > len(body):
        raise Refused(f"Inference-Header-Content-Length is {header_length}, but the body has {len(body)} bytes")
    if header_length == 0:
        raise Refused("Inference-Header-Content-Length is 0: raw requests are not supported, the JSON part is needed")
    head = body if header_length is None else body[:header_length]
    document = parse_object(head, limits.json_depth, MOST_VALUES + limits.images_per_request)
    parameters = mapping(document.get("parameters"), "`parameters`")
    outputs = _asked_outputs(document, parameters, model)
    blobs = _Blobs(memoryview(body)[len(head) :], header_length is not None)
    images = _images(document, parameters, blobs, model, limits)
    blobs.check_used()
    return InferRequest(images, outputs, _id(document))


def _id(document: Mapping[str, Any]) -> str | None:
    found = document.get("id")
    if found is None:
        return None
    found = text(found, "`id`")
    if len(found) > _LONGEST_ID:
        raise Refused(f"`id` has {len(found)} characters, {_LONGEST_ID} are allowed")
    return found


class _Blobs:
    """The binary data behind the JSON part, handed out in the order of the inputs."""

    def __init__(self, data: memoryview, announced: bool) -> None:
        self._data = data
        self._announced = announced
        self._place = 0

    def take(self, size: int, name: str) -> memoryview:
        if not self._announced:
            raise Refused(
                f"input {name!r} has {_BINARY_SIZE}, but the request has no Inference-Header-Content-Length header"
            )
        left = len(self._data) - self._place
        if size > left:
            raise Refused(f"input {name!r} has {_BINARY_SIZE} {size}, but {left} bytes of binary data are left")
        self._place += size
        return self._data[self._place - size : self._place]

    def check_used(self) -> None:
        if self._place != len(self._data):
            raise Refused(f"{len(self._data) - self._place} bytes of binary data belong to no input ({_BINARY_SIZE})")


def _images(
    document: Mapping[str, Any], request_parameters: Mapping[str, Any], blobs: _Blobs, model: Model, limits: ServeLimits
) -> list[bytes] | list[UInt8Image]:
    inputs = listed(document.get("inputs"), "`inputs`")
    known = {tensor.name: tensor for tensor in inputs_of(model)}
    if len(inputs) != 1:
        raise Refused(f"`inputs` must hold exactly one tensor, {' or '.join(known)}; it holds {len(inputs)}")
    given = mapping(inputs[0], "inputs[0]")
    name = text(given.get("name"), "inputs[0].name")
    if name not in known:
        raise Refused(f"unknown input {name[:60]!a}{did_you_mean(name[:60], known)}")
    tensor = known[name]
    datatype = text(given.get("datatype"), f"datatype of input {name!r}")
    if datatype != tensor.datatype:
        raise Refused(f"input {name!r} has datatype {datatype[:20]!a}, the model takes {tensor.datatype}")
    shape = shape_of(given.get("shape"), tensor, limits.images_per_request)
    parameters = mapping(given.get("parameters"), f"parameters of input {name!r}")
    _refuse_shared_memory(parameters, name)
    if _BINARY_SIZE in parameters:
        if given.get("data") is not None:
            raise Refused(f"input {name!r} has both `data` and {_BINARY_SIZE}")
        data = blobs.take(integer(parameters[_BINARY_SIZE], f"{_BINARY_SIZE} of input {name!r}"), name)
        return split_elements(data, shape[0], name) if tensor.datatype == "BYTES" else _pixels(data, shape, name)
    if given.get("data") is None:
        raise Refused(f"input {name!r} has neither `data` nor the parameter {_BINARY_SIZE}")
    if tensor.datatype == "UINT8":
        if not isinstance(given["data"], Numbers):
            raise Refused(f"`data` of input {name!r} must be an array of integers from 0 to 255")
        return list(read_bytes(given["data"], shape))
    content_type = parameters.get("content_type", request_parameters.get("content_type"))
    return _files(given["data"], shape[0], name, content_type)


def _pixels(data: memoryview, shape: tuple[int, ...], name: str) -> list[UInt8Image]:
    if len(data) != math.prod(shape):
        raise Refused(
            f"input {name!r} has {len(data)} bytes of binary data, shape {list(shape)} takes {math.prod(shape)}"
        )
    return list(np.frombuffer(data, dtype=np.uint8).reshape(shape))


def _files(data: Any, count: int, name: str, content_type: Any) -> list[bytes]:
    if content_type != "base64":
        raise Refused(
            f"input {name!r} in JSON needs the parameter content_type: base64 (image files are no text); or send it as "
            "binary data"
        )
    if not isinstance(data, list) or not all(isinstance(one, Encoded) for one in data):
        raise Refused(f"`data` of input {name!r} must be a flat array of base64 texts")
    if len(data) != count:
        raise Refused(f"`data` of input {name!r} holds {len(data)} elements, its shape says {count}")
    files = []
    for number, one in enumerate(data):
        try:
            files.append(one.base64())
        except ValueError as err:
            raise Refused(f"element {number} of input {name!r} is no base64: {err}") from err
    return files


def _asked_outputs(
    document: Mapping[str, Any], request_parameters: Mapping[str, Any], model: Model
) -> list[AskedOutput]:
    standard = optional_bool(request_parameters.get("binary_data_output"), "binary_data_output") or False
    known = {tensor.name: tensor for tensor in outputs_of(model)}
    asked = listed([] if document.get("outputs") is None else document["outputs"], "`outputs`")
    if not asked:
        return [AskedOutput(tensor, standard) for tensor in known.values()]
    found: dict[str, AskedOutput] = {}
    for number, given in enumerate(asked):
        fields = mapping(given, f"outputs[{number}]")
        name = text(fields.get("name"), f"outputs[{number}].name")
        if name not in known:
            raise Refused(f"unknown output {name[:60]!a}{did_you_mean(name[:60], known)}")
        if name in found:
            raise Refused(f"`outputs` names {name!r} twice")
        found[name] = _asked_output(
            known[name], mapping(fields.get("parameters"), f"parameters of output {name!r}"), standard
        )
    return list(found.values())


def _asked_output(tensor: Tensor, parameters: Mapping[str, Any], standard: bool) -> AskedOutput:
    _refuse_shared_memory(parameters, tensor.name)
    wished = optional_bool(parameters.get("binary_data"), f"binary_data of output {tensor.name!r}")
    binary = standard if wished is None else wished
    if parameters.get("classification") is None:
        return AskedOutput(tensor, binary)
    classes = integer(parameters["classification"], f"classification of output {tensor.name!r}")
    if classes < 1:
        raise Refused(f"classification of output {tensor.name!r} must be at least 1, not {classes}")
    if tensor.name not in OF_CLASSES:
        raise Refused(f"output {tensor.name!r} has no classes; classification goes with {' and '.join(OF_CLASSES)}")
    return AskedOutput(tensor, binary, min(classes, tensor.shape[1]))


def _refuse_shared_memory(parameters: Mapping[str, Any], name: str) -> None:
    if "shared_memory_region" in parameters:
        raise Refused(f"{name!r} names a shared memory region; this server takes and gives data in bodies only")
