"""The reply to an inference request: JSON, and behind it the outputs that were asked for as binary data."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from deploy.engine import Answer
from deploy.oip.bytes_tensors import join_elements
from deploy.oip.request import AskedOutput, InferRequest
from tasks.opened_release import FloatMatrix


@dataclass(frozen=True)
class Reply:
    """A body; `header_length` are its bytes of JSON where binary data follow, else None."""

    body: bytes
    header_length: int | None = None


def make_reply(request: InferRequest, answers: Sequence[Answer]) -> Reply:
    """The reply; every answer is of one model, which it names.

    Raises:
        ValueError: an output that goes into JSON is not finite.
    """
    model = answers[0].model
    outputs: list[dict[str, Any]] = []
    blobs: list[bytes] = []
    for asked in request.outputs:
        values = np.stack([getattr(answer, asked.tensor.name) for answer in answers])
        output, blob = _labels(asked, values, model.labels) if asked.classes else _numbers(asked, values)
        if blob is not None:
            output["parameters"] = {"binary_data_size": len(blob)}
            blobs.append(blob)
        outputs.append(output)
    head: dict[str, Any] = {"model_name": model.name, "model_version": model.version, "outputs": outputs}
    if request.id is not None:
        head["id"] = request.id
    document = json.dumps(head, allow_nan=False, separators=(",", ":")).encode()
    return Reply(b"".join([document, *blobs]), len(document)) if blobs else Reply(document)


def _numbers(asked: AskedOutput, values: FloatMatrix) -> tuple[dict[str, Any], bytes | None]:
    output = {"name": asked.tensor.name, "datatype": "FP32", "shape": list(values.shape)}
    if asked.binary:
        return output, np.ascontiguousarray(values, dtype="<f4").tobytes()
    return {**output, "data": values.reshape(-1).tolist()}, None


def _labels(asked: AskedOutput, values: FloatMatrix, labels: Sequence[str]) -> tuple[dict[str, Any], bytes | None]:
    """The highest `asked.classes` of each row, "value:index:label" as Triton writes them."""
    best = np.argsort(-values, axis=1, kind="stable")[:, : asked.classes]
    texts = [
        f"{float(row[place]):f}:{place}:{labels[place]}"
        for row, places in zip(values, best, strict=True)
        for place in places
    ]
    output = {"name": asked.tensor.name, "datatype": "BYTES", "shape": list(best.shape)}
    if asked.binary:
        return output, join_elements(text.encode() for text in texts)
    return {**output, "data": texts}, None
