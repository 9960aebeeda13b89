"""Spoilt requests as bytes on the wire: bodies, multipart forms, tensors in JSON and in binary, headers and framing."""

from __future__ import annotations

import gzip
import random
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from hostile_bodies import image_files, spoil
from oip_scene import HEADER_LENGTH, binary_body, elements, files_input, image_input, request_body

JSON_PIECES = [
    "null", "true", "-1", "0", "1e400", "NaN", "Infinity", "99999999999999999999999999", "1.5", '""', '"\\ud800"',
    "[]", "{}",
    "[" * 40 + "]" * 40, '{"a":' * 30 + "1" + "}" * 30, "[-1]", '"image"', '"BYTES"', '"FP32"', "1" * 400, ",",
    ":", "}", "]", '"binary_data_size":7', '"binary_data_size":-7',
    '"shape":[18446744073709551616,32,32,3]', "\x00", "\u2028",
]  # fmt: skip
PATHS = [
    "//", "/predict/../x", "/v2/models/%00/infer", "/v2/models/\xff/infer", "/predict?top_k=" + "9" * 99, "*", "", "/%",
    "http://a/predict", "/" + "a" * 9000, "/v2/models/" + "%F0%9F%8C%B1" * 20, "/predict#x", "/%zz", "/\x7f",
]  # fmt: skip
_TOKEN = re.compile(rb'"[^"\\]{0,40}"|-?[0-9]+|\[|\]|\{|\}|true|false|null')


@dataclass
class Request:
    """A request before it is written."""

    path: str
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    method: str = "POST"


@dataclass(frozen=True)
class Hostile:
    """What is sent.

    Attributes:
        number: the seed that makes it again.
        framed: its framing is sound, so it must be answered; else its connection may be closed instead.
        sound: nothing is wrong with it.
    """

    number: int
    data: bytes
    framed: bool
    sound: bool = False


def _spoilt_file(chance: random.Random) -> bytes:
    files = image_files()
    return spoil(chance.choice(files), chance, chance.choice(files))


def raw(chance: random.Random) -> Request:
    """A file as the body of /predict."""
    return Request(
        "/predict", _spoilt_file(chance), {"Content-Type": chance.choice(["image/jpeg", "image/png", "x/y", ""])}
    )


def form(chance: random.Random) -> Request:
    """A file in a form, spoilt inside, or the form itself."""
    inside = chance.random() < 0.5
    file = _spoilt_file(chance) if inside else chance.choice(image_files())
    head = b'Content-Disposition: form-data; name="file"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'
    body = b"--edge\r\n" + head + file + b"\r\n--edge--\r\n"
    kind = 'multipart/form-data; boundary="edge"'
    if not inside:
        body = spoil(body, chance, body)
        kind = chance.choice(
            [kind, kind, "multipart/form-data", "multipart/form-data; boundary=", "multipart/mixed; boundary=edge"]
        )
    return Request("/predict", body, {"Content-Type": kind})


def json_files(model: str, chance: random.Random) -> Request:
    """Image files in base64, spoilt inside, or their JSON."""
    files = [_spoilt_file(chance) for _ in range(chance.randrange(1, 3))]
    body = request_body(files_input(files), id="h", outputs=[{"name": "logits", "parameters": {"classification": 2}}])
    if chance.random() < 0.6:
        body = _spoilt_json(body, chance)
    return Request(f"/v2/models/{model}/infer", body, {"Content-Type": "application/json"})


def json_pixels(model: str, crop: int, chance: random.Random) -> Request:
    """Pixels in JSON."""
    values = np.frombuffer(chance.randbytes(crop * crop * 3), np.uint8).reshape(1, crop, crop, 3)
    body = _spoilt_json(request_body(image_input(values, flat=chance.random() < 0.5)), chance)
    return Request(f"/v2/models/{model}/infer", body, {"Content-Type": "application/json"})


def _spoilt_json(body: bytes, chance: random.Random) -> bytes:
    if chance.random() < 0.3:
        return spoil(body, chance, body)
    tokens = list(_TOKEN.finditer(body))
    token = chance.choice(tokens[:60] if chance.random() < 0.7 else tokens)
    piece = chance.choice(JSON_PIECES).encode("utf-8")
    how = chance.randrange(3)
    start, end = (
        (token.start(), token.end()) if how == 0 else (token.start(),) * 2 if how == 1 else (token.start(), token.end())
    )
    return body[:start] + (piece if how < 2 else b"") + body[end:]


def binary(model: str, crop: int, chance: random.Random) -> Request:
    """Tensors as binary data, with lengths that may lie."""
    if chance.random() < 0.5:
        data = spoil(elements([_spoilt_file(chance)]), chance, chance.choice(image_files()))
        body, head = binary_body("encoded_image", [1], data, parameters={"binary_data_output": True})
    else:
        body, head = binary_body("image", [1, crop, crop, 3], chance.randbytes(crop * crop * 3))
    if chance.random() < 0.3:
        body = spoil(body, chance, body)
    length = chance.choice(
        [str(head)] * 6 + [str(head + 1), str(head - 1), "0", "-1", "x", str(10**19), str(len(body))]
    )
    return Request(f"/v2/models/{model}/infer", body, {HEADER_LENGTH: length})


def compressed(model: str, crop: int, chance: random.Random) -> Request:
    """A compressed body, sound or spoilt."""
    request = json_files(model, chance)
    name, compress = chance.choice(
        [("gzip", partial(gzip.compress, mtime=0)), ("deflate", zlib.compress), ("gzip", zlib.compress)]
    )
    body = compress(request.body)
    request.body = spoil(body, chance, body) if chance.random() < 0.7 else body
    request.headers["Content-Encoding"] = name
    return request


def _written(request: Request, extra: str = "") -> bytes:
    headers = {"Host": "here", "Content-Length": str(len(request.body)), **request.headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"{request.method} {request.path} HTTP/1.1\r\n{lines}{extra}\r\n".encode("latin-1", "replace") + request.body


def _misframed(request: Request, chance: random.Random) -> bytes:
    """The request with lies about lengths, or spoilt in its own line and headers."""
    how = chance.randrange(7)
    size = len(request.body)
    if how == 0:
        request.headers["Content-Length"] = str(chance.choice([size + 1, size + 5000, max(0, size - 1), size // 2]))
    elif how == 1:
        request.headers["Content-Length"] = chance.choice(["-1", "x", "1e3", "", "0x10", "9" * 30, "1, 2", "+5"])
    elif how == 2:
        return _written(request, f"Content-Length: {size + chance.randrange(3)}\r\nTransfer-Encoding: chunked\r\n")
    elif how == 3:
        chunk = chance.choice([b"%x", b"-%x", b"%xg", b"0x%x", b"%x;a=b", b"f" * 30 + b"%x"]) % size
        head = _written(Request(request.path, b"", request.headers), "Transfer-Encoding: chunked\r\n")
        head = head.replace(b"Content-Length: 0\r\n", b"")
        return (
            head
            + chunk
            + b"\r\n"
            + request.body
            + chance.choice([b"\r\n0\r\n\r\n", b"", b"\r\n0\r\nA: b\r\n\r\n", b"0\r\n\r\n"])
        )
    elif how == 4:
        request.method = chance.choice(
            ["GET", "HEAD", "PUT", "OPTIONS", "TRACE", "CONNECT", "post", "P\x00ST", "A" * 70]
        )
    elif how == 5:
        request.path = chance.choice(PATHS)
    else:
        whole = _written(request)
        end = whole.index(b"\r\n\r\n")
        return spoil(whole[:end], chance, whole) + whole[end:]
    return _written(request)


def hostile(number: int, model: str, crop: int) -> Hostile:
    """The request of this number; the same for the same number."""
    chance = random.Random(number)
    makers: list[Callable[[], Request]] = [
        lambda: raw(chance),
        lambda: form(chance),
        lambda: json_files(model, chance),
        lambda: json_pixels(model, crop, chance),
        lambda: binary(model, crop, chance),
        lambda: compressed(model, crop, chance),
    ]
    request = chance.choice(makers)()
    if chance.random() < 0.12:
        return Hostile(number, _misframed(request, chance), framed=False)
    return Hostile(number, _written(request), framed=True)


def sound_requests(model: str, crop: int) -> list[Hostile]:
    """Requests of every kind that are to be answered by 200."""
    files, infer = image_files(), f"/v2/models/{model}/infer"
    values = np.random.default_rng(1).integers(0, 256, (2, crop, crop, 3), dtype=np.uint8)
    body, head = binary_body("image", values.shape, values.tobytes(), parameters={"binary_data_output": True})
    of_files, of_files_head = binary_body("encoded_image", [3], elements(files[:3]))
    requests = [
        *(Request("/predict", file) for file in files),
        Request(infer, request_body(files_input(files[4:6]))),
        Request(infer, request_body(image_input(values))),
        Request(infer, body, {HEADER_LENGTH: str(head)}),
        Request(infer, of_files, {HEADER_LENGTH: str(of_files_head)}),
    ]
    return [Hostile(-1 - place, _written(one), framed=True, sound=True) for place, one in enumerate(requests)]
