"""What one large request costs a server's process: a stated few times its body, whatever is in it."""

from __future__ import annotations

import base64
import gzip
import http.client
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from oip_scene import binary_body, elements, files_input, image_input, request_body
from running_server import RunningServer, running_server

SIZE = 8_000_000
BODY_MB = 10
FACTOR = 4.0
SPARE_MB = 15.0
"""A request may take so many times its body (as it comes, as the application's bytes, as text without escapes, as files
or pixels), and the allocator and the model so much besides; a body that is compressed counts as large as it may be."""

CROP = 128


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    from small_release import make_release

    folder = tmp_path_factory.mktemp("memory")
    release = make_release(folder / "release", crop=CROP)
    options = ["--set", f"serve.limits.body_mb={BODY_MB}", "--set", "serve.limits.images_per_request=100"]
    with running_server("--release", str(release), *options, folder=folder) as running:
        ask(running, request_body(image_input(np.zeros((40, CROP, CROP, 3), np.uint8))))
        yield running


def ask(server: RunningServer, body: bytes, **headers: str) -> int:
    connection = http.client.HTTPConnection(server.host, server.port, timeout=60)
    try:
        connection.request(
            "POST", "/v2/models/made-up/infer", body, {k.replace("_", "-"): v for k, v in headers.items()}
        )
        reply = connection.getresponse()
        reply.read()
        return reply.status
    finally:
        connection.close()


def peak_mb(server: RunningServer) -> float:
    lines = Path(f"/proc/{server.process.pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / 1e6


def begin_anew(server: RunningServer) -> None:
    """Have the kernel forget the peak."""
    Path(f"/proc/{server.process.pid}/clear_refs").write_text("5", encoding="ascii")


def repeated(start: bytes, unit: bytes) -> Callable[[], bytes]:
    return lambda: start + unit * (SIZE // len(unit))


def noise() -> bytes:
    return random.Random(1).randbytes(SIZE * 3 // 4)


BODIES: dict[str, tuple[int, Callable[[], bytes]]] = {
    "objects": (400, repeated(b'{"a":[', b"{},")),
    "keys": (400, repeated(b'{"', b"a")),
    "wide text": (400, repeated(b'{"id":"', b"\xf0\x9f\x8c\xb1")),
    "escapes": (400, repeated(b'{"inputs":[{"data":["', b"\\n")),
    "brackets": (400, repeated(b'{"inputs":[{"data":', b"[")),
    "numbers": (400, repeated(b'{"inputs":[{"data":[', b"1,")),
    "files": (415, lambda: request_body(files_input([noise()]))),
    "escaped files": (415, lambda: request_body(files_input([noise()])).replace(b"/", b"\\/")),
    "pixels": (200, lambda: request_body(image_input(np.full((40, CROP, CROP, 3), 200, np.uint8), flat=True))),
    "a shape that lies": (400, lambda: json.dumps({"inputs": [{"name": "image", "datatype": "UINT8",
                                                               "shape": [100, CROP, CROP, 3], "data": [1]}]}).encode()),
}  # fmt: skip


@pytest.mark.parametrize("name", BODIES)
def test_a_large_body_takes_a_few_times_its_size(server: RunningServer, name: str) -> None:
    status, make = BODIES[name]
    body = make()
    begin_anew(server)
    before = peak_mb(server)
    assert ask(server, body) == status
    assert peak_mb(server) - before < FACTOR * len(body) / 1e6 + SPARE_MB


def test_what_a_compressed_body_opens_to_is_bounded(server: RunningServer) -> None:
    body = gzip.compress(b'{"inputs":' + b" " * 300_000_000, 1)
    begin_anew(server)
    before = peak_mb(server)
    assert ask(server, body, Content_Encoding="gzip") == 413
    assert peak_mb(server) - before < FACTOR * BODY_MB + SPARE_MB


def test_binary_data_take_a_few_times_their_size(server: RunningServer) -> None:
    body, head = binary_body(
        "encoded_image", [2], elements([noise()[: SIZE // 2], base64.b64encode(noise())[: SIZE // 2]])
    )
    begin_anew(server)
    before = peak_mb(server)
    assert ask(server, body, Inference_Header_Content_Length=str(head)) == 415
    assert peak_mb(server) - before < FACTOR * len(body) / 1e6 + SPARE_MB
