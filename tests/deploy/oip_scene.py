"""Requests of the Open Inference Protocol, made as clients make them."""

from __future__ import annotations

import base64
import io
import json
import struct
from collections.abc import Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from fastapi.testclient import TestClient
from PIL import Image

from deploy.app import compose
from deploy.engine import Engine
from deploy.metrics import Metrics
from deploy.model import Model
from deploy.settings import Settings
from deploy.worker import Worker
from tasks.params import ServeParams

HEADER_LENGTH = "Inference-Header-Content-Length"


def pixels(count: int, crop: int, seed: int = 0) -> Any:
    """(count, crop, crop, 3) uint8 noise."""
    return np.random.default_rng(seed).integers(0, 256, (count, crop, crop, 3), dtype=np.uint8)


def photo(seed: int = 0, kind: str = "PNG", size: tuple[int, int] = (50, 40)) -> bytes:
    """An image file of blocks of colour."""
    blocks = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(blocks).resize(size, Image.Resampling.NEAREST).save(file, kind)
    return file.getvalue()


def image_input(values: Any, flat: bool = False, **more: Any) -> dict[str, Any]:
    """The tensor `image` with its data in JSON."""
    data = (values.reshape(-1) if flat else values).tolist()
    return {"name": "image", "datatype": "UINT8", "shape": list(values.shape), "data": data, **more}


def files_input(files: Sequence[bytes], **more: Any) -> dict[str, Any]:
    """The tensor `encoded_image` with its data in JSON."""
    return {
        "name": "encoded_image",
        "datatype": "BYTES",
        "shape": [len(files)],
        "parameters": {"content_type": "base64"},
        "data": [base64.b64encode(file).decode() for file in files],
        **more,
    }


def request_body(*inputs: dict[str, Any], **more: Any) -> bytes:
    """A request without binary data."""
    return json.dumps({"inputs": list(inputs), **more}).encode()


def binary_body(name: str, shape: Sequence[int], data: bytes, **more: Any) -> tuple[bytes, int]:
    """A request with one input as binary data, and the length of its JSON part."""
    datatype = "UINT8" if name == "image" else "BYTES"
    tensor = {"name": name, "datatype": datatype, "shape": list(shape), "parameters": {"binary_data_size": len(data)}}
    head = json.dumps({"inputs": [tensor], **more}).encode()
    return head + data, len(head)


def elements(files: Sequence[bytes]) -> bytes:
    """BYTES elements as the binary extension writes them."""
    return b"".join(struct.pack("<I", len(file)) + file for file in files)


def worker_of(model: Model, release: Path, **serve: Any) -> Worker:
    """A worker that serves a model, without a process."""
    params, metrics = ServeParams.model_validate(serve), Metrics()
    return Worker(
        Settings(serve=params, store=release.parent, release=release), metrics, Engine(model, params, metrics)
    )


@contextmanager
def client_of(worker: Worker) -> Iterator[TestClient]:
    """A client of the worker's application, in this process."""

    @asynccontextmanager
    async def lifespan(app: Any) -> Any:
        await worker.engine.start()
        yield
        await worker.engine.stop()

    with TestClient(compose(worker, lifespan)) as client:
        yield client
