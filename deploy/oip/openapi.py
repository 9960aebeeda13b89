"""What /openapi.json says of the protocol's requests and replies."""

from __future__ import annotations

from typing import Any

from deploy.oip.metadata import ErrorObject

_FAULTS = {
    400: "The request is not as the protocol or the model wants it.",
    401: "The server has a token, and none or another was sent.",
    404: "No such model or version is served.",
    411: "No body, or none whose length is announced.",
    413: "The body is larger than the server takes, plain or when decompressed.",
    415: "An image format that is not allowed, or a Content-Encoding other than gzip and deflate.",
    422: "An image is damaged, or has too many pixels or frames.",
    503: "The server has more to do than it admits, or is about to stop; Retry-After says when to come again.",
}
_PARAMETERS = {"type": "object", "additionalProperties": True}
_BINARY = {"type": "string", "format": "binary"}
_LENGTH = {
    "description": "Bytes of the JSON part, where binary data follow it.",
    "schema": {"type": "integer", "minimum": 1},
}
_SHAPE = {"type": "array", "items": {"type": "integer", "minimum": 0}}


def _tensor(datatypes: list[str], data: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["name", "datatype", "shape"],
        "properties": {
            "name": {"type": "string"},
            "datatype": {"type": "string", "enum": datatypes},
            "shape": _SHAPE,
            "parameters": _PARAMETERS,
            "data": {"type": "array", **data},
        },
    }


_REQUEST = {
    "type": "object",
    "required": ["inputs"],
    "properties": {
        "id": {"type": "string", "maxLength": 1024, "description": "Given back in the reply."},
        "parameters": _PARAMETERS,
        "inputs": {
            "type": "array",
            "minItems": 1,
            "maxItems": 1,
            "description": "`image` (UINT8, prepared pixels) or `encoded_image` (BYTES, image files; in JSON as base64 "
            "with the parameter content_type: base64).",
            "items": _tensor(["UINT8", "BYTES"], {}),
        },
        "outputs": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name"],
                "properties": {
                    "name": {"type": "string", "enum": ["probabilities", "logits", "embedding"]},
                    "parameters": {
                        "type": "object",
                        "properties": {
                            "binary_data": {"type": "boolean"},
                            "classification": {"type": "integer", "minimum": 1},
                        },
                    },
                },
            },
        },
    },
}
_REPLY = {
    "type": "object",
    "required": ["model_name", "model_version", "outputs"],
    "properties": {
        "model_name": {"type": "string"},
        "model_version": {"type": "string"},
        "id": {"type": "string"},
        "outputs": {
            "type": "array",
            "items": _tensor(["FP32", "BYTES"], {"items": {"anyOf": [{"type": "number"}, {"type": "string"}]}}),
        },
    },
}


def faults(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The error replies of a route, as FastAPI takes them."""
    return {status: {"model": ErrorObject, "description": _FAULTS[status]} for status in statuses}


def infer_operation(operation: str) -> dict[str, Any]:
    """The OpenAPI operation of an inference route, without its error replies."""
    return {
        "operationId": operation,
        "summary": "Answers to images, as tensors",
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": _REQUEST}, "application/octet-stream": {"schema": _BINARY}},
        },
        "responses": {
            "200": {
                "description": "Answers; binary outputs follow the JSON part.",
                "headers": {"Inference-Header-Content-Length": _LENGTH},
                "content": {"application/json": {"schema": _REPLY}, "application/octet-stream": {"schema": _BINARY}},
            }
        },
    }


INFER_FAULTS = faults(*_FAULTS)
