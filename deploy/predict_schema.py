"""What /openapi.json says of /predict: both ways to send an image, and every reply."""

from __future__ import annotations

from typing import Any

from tasks.params.serve import ServeParams

_FAULTS = {
    400: "The body, the form or the query is not as it must be.",
    401: "The server has a token, and none or another was sent.",
    411: "No body, or none whose length is announced.",
    413: "The body is larger than the server takes.",
    415: "No image, an image format that is not allowed, JSON, or a compressed body.",
    422: "The image is damaged, or has too many pixels or frames.",
    500: "The model failed; the server's log tells why under the request's id.",
    503: "The server has more to do than it admits, or is about to stop; Retry-After says when to come again.",
}
_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message", "request_id"],
            "properties": {
                "code": {"type": "string", "description": "For programs."},
                "message": {"type": "string", "description": "What is wrong, and how to mend it."},
                "request_id": {"type": "string"},
            },
        }
    },
}
_PREDICTION = {
    "type": "object",
    "required": ["predictions", "abstained", "model", "version", "digest", "request_id"],
    "properties": {
        "predictions": {
            "type": "array",
            "minItems": 1,
            "description": "The likeliest labels, the likeliest first.",
            "items": {
                "type": "object",
                "required": ["label", "probability"],
                "properties": {
                    "label": {"type": "string"},
                    "probability": {"type": "number", "minimum": 0, "maximum": 1},
                },
            },
        },
        "abstained": {"type": "boolean", "description": "The highest probability is below serve.abstain_below."},
        "model": {"type": "string"},
        "version": {"type": "string"},
        "digest": {"type": "string", "description": "sha256 of the release's manifest."},
        "request_id": {"type": "string", "description": "Also in the header X-Request-Id."},
    },
}
_REQUEST_ID = {
    "name": "X-Request-Id",
    "in": "header",
    "required": False,
    "description": "Named in the reply and the log: 1 to 128 of A-Z a-z 0-9 . _ : / + = @ -; else replaced.",
    "schema": {"type": "string"},
}


def predict_operation(serve: ServeParams) -> dict[str, Any]:
    """The OpenAPI operation of POST /predict."""
    binary = {"type": "string", "format": "binary"}
    form = {
        "type": "object",
        "minProperties": 1,
        "maxProperties": 1,
        "description": "One file, whatever the field's name.",
        "properties": {"file": binary},
        "additionalProperties": binary,
    }
    top_k = {"type": "integer", "minimum": 1, "maximum": 1000, "default": serve.top_k}
    return {
        "operationId": "predict",
        "summary": "The likeliest labels of an image",
        "description": f"An image ({', '.join(serve.limits.formats)}) of at most {serve.limits.body_mb:g} MB and "
        f"{serve.limits.max_pixels} pixels, as the body itself or as the one file of a form.",
        "parameters": [
            {"name": "top_k", "in": "query", "required": False, "description": "How many labels.", "schema": top_k},
            _REQUEST_ID,
        ],
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {"schema": form},
                "image/*": {"schema": binary},
                "application/octet-stream": {"schema": binary},
            },
        },
        "responses": {
            "200": {"description": "Labels.", "content": {"application/json": {"schema": _PREDICTION}}},
            **{str(status): _fault(status, text) for status, text in _FAULTS.items()},
        },
    }


def _fault(status: int, text: str) -> dict[str, Any]:
    named = {503: "Retry-After", 401: "WWW-Authenticate"}.get(status)
    headers = {"headers": {named: {"schema": {"type": "string"}}}} if named else {}
    return {"description": text, "content": {"application/json": {"schema": _ERROR}}, **headers}
