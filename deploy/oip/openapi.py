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
_PARAMETERS = {"type": ["object", "null"], "additionalProperties": True}
_TEXT = {"type": "string", "minLength": 1}
_BINARY = {"type": "string", "format": "binary"}
_LENGTH = {
    "description": "Bytes of the JSON part, where binary data follow it.",
    "schema": {"type": "integer", "minimum": 1},
}
_SHAPE = {"type": "array", "items": {"type": "integer", "minimum": 0}}

_EIGHT_BY_EIGHT = (
    "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAFElEQVR4nGM8UaHBgA0wYRUdtBIAHicBeAYWg8oAAAAASUVORK5CYII="
)
"""An image that any model answers, for the example."""


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
        "id": {"type": ["string", "null"], "maxLength": 1024, "description": "Given back in the reply."},
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
            "type": ["array", "null"],
            "items": {
                "type": "object",
                "required": ["name"],
                "properties": {
                    "name": {"type": "string", "enum": ["probabilities", "logits", "embedding"]},
                    "parameters": {
                        "type": ["object", "null"],
                        "properties": {
                            "binary_data": {"type": ["boolean", "null"]},
                            "classification": {"type": ["integer", "null"], "minimum": 1},
                        },
                    },
                },
            },
        },
    },
}
_EXAMPLE = {
    "id": "7",
    "inputs": [
        {
            "name": "encoded_image",
            "datatype": "BYTES",
            "shape": [1],
            "parameters": {"content_type": "base64"},
            "data": [_EIGHT_BY_EIGHT],
        }
    ],
    "outputs": [{"name": "probabilities", "parameters": {"classification": 3}}],
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


def path_parameters(path: str) -> dict[str, Any]:
    """The parameters of a path, as part of its operation; any text is allowed, and what is not served is not found."""
    names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    return {"parameters": [{"name": name, "in": "path", "required": True, "schema": _TEXT} for name in names]}


def infer_operation(path: str) -> dict[str, Any]:
    """The OpenAPI operation of an inference route, without its error replies."""
    return {
        **path_parameters(path),
        "summary": "Answers to images, as tensors",
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": _REQUEST, "example": _EXAMPLE},
                "application/octet-stream": {"schema": _BINARY},
            },
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
