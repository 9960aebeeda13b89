"""Reading one image from a body or a form, in whatever pieces it comes."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from asgi_client import BOUNDARY, FORM, form
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.requests import Request

from deploy.bodies import LONGEST_PART_HEADER, MOST_PART_HEADERS, read_image
from deploy.faults import Fault
from tasks.params.serve import ServeLimits

PHOTO = b"\xff\xd8 a photo\r\n--" + BOUNDARY.encode()[:-1] + b"\r\n\r\n\xff\xd9"


def read(chunks: Sequence[bytes], content_type: str = "", limits: ServeLimits | None = None, **headers: str) -> bytes:
    """What `read_image` makes of a body that comes in these chunks; how many it left is not asked."""
    return asyncio.run(read_image(request_of(iter(chunks), content_type, **headers), limits or ServeLimits()))


def request_of(chunks: Iterator[bytes], content_type: str, **headers: str) -> Request:
    named = {"transfer_encoding": "chunked", **headers}
    if content_type:
        named["content_type"] = content_type
    raw = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in named.items() if value]

    async def receive() -> dict[str, Any]:
        chunk = next(chunks, None)
        return {"type": "http.request", "body": chunk or b"", "more_body": chunk is not None}

    return Request({"type": "http", "method": "POST", "path": "/predict", "headers": raw}, receive)


def refused(chunks: Sequence[bytes], content_type: str = "", limits: ServeLimits | None = None, **more: str) -> Fault:
    with pytest.raises(Fault) as caught:
        read(chunks, content_type, limits, **more)
    return caught.value


def fault_of_reading(chunks: Sequence[bytes]) -> Fault | None:
    try:
        read(chunks, FORM)
    except Fault as fault:
        return fault
    return None


@given(st.lists(st.integers(1, 200), max_size=30))
@settings(max_examples=60, deadline=None)
def test_a_form_gives_the_same_bytes_however_it_is_cut(cuts: list[int]) -> None:
    body, places = form(("file", "a.jpg", PHOTO)), sorted(cuts)
    chunks = [body[start:end] for start, end in zip([0, *places], [*places, len(body)], strict=True)]

    assert read(chunks, FORM) == PHOTO
    assert read(chunks) == body


@given(st.binary(max_size=400), st.integers(1, 50))
@settings(max_examples=150, deadline=None)
def test_whatever_is_sent_as_a_form_is_read_or_refused_as_the_clients_fault(junk: bytes, step: int) -> None:
    for body in (junk, form(("file", "a", junk)), form(("file", "a", PHOTO))[: len(junk)] + junk):
        chunks = [body[start : start + step] for start in range(0, len(body), step)]
        fault = fault_of_reading(chunks)
        assert fault is None or (fault.status == 400 and fault.reason == "body")


@pytest.mark.parametrize(
    ("body", "code", "told"),
    [
        (form(("a", "a.jpg", PHOTO), ("b", "b.jpg", PHOTO)), "several_files", "'a', 'b'"),
        (form(("top_k", None, b"3"), ("a", "a.jpg", PHOTO)), "not_a_file", "'top_k'"),
        (form(("a", "a.jpg", b"")), "empty_file", "'a'"),
        (form(), "no_file", "`file`"),
        (form(("a", "a.jpg", PHOTO))[:-20], "bad_form", "last boundary"),
        (b"no form", "bad_form", "cannot be read"),
        (b"", "bad_form", "last boundary"),
        (f"--{BOUNDARY}\r\n\r\nno header\r\n--{BOUNDARY}--\r\n".encode(), "bad_form", "Content-Disposition"),
    ],
)
def test_a_form_of_anything_but_one_file_is_refused_by_name(body: bytes, code: str, told: str) -> None:
    fault = refused([body], FORM)

    assert (fault.status, fault.code) == (400, code)
    assert told in fault.message


def test_names_that_a_client_chose_are_shown_escaped_and_cut() -> None:
    fault = refused([form(("evil\x1b[2J\u202e" + "x" * 500, None, b"3"))], FORM)

    assert fault.message.isascii()
    assert fault.message.isprintable()
    assert len(fault.message) < 400


def test_headers_of_a_part_are_bounded() -> None:
    head, tail = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="a"; filename="a"\r\n', b"\r\n\r\n"
    many = head.encode() + b"X: y\r\n" * MOST_PART_HEADERS + tail
    long = head.encode() + b"X: " + b"y" * LONGEST_PART_HEADER + tail

    assert refused([many], FORM).code == "bad_form"
    assert refused([long], FORM).code == "bad_form"


def test_a_form_without_a_boundary_or_of_another_kind_is_refused() -> None:
    assert refused([b"x"], "multipart/form-data").code == "bad_form"
    assert refused([b"x"], "multipart/form-data; boundary=" + "b" * 300).code == "bad_form"
    assert refused([b"x"], "multipart/mixed; boundary=b").status == 415


def test_a_body_too_large_by_its_announcement_is_refused_unread() -> None:
    chunks = iter([b"x" * 10])
    request = request_of(chunks, "", transfer_encoding="", content_length="2001")

    with pytest.raises(Fault) as caught:
        asyncio.run(read_image(request, ServeLimits(body_mb=0.002)))

    assert (caught.value.status, caught.value.code, caught.value.reason) == (413, "too_large", "too_large")
    assert "2000 bytes" in caught.value.message
    assert list(chunks) == [b"x" * 10]


@pytest.mark.parametrize("content_type", ["", FORM])
def test_a_body_that_announced_nothing_is_counted_while_it_comes(content_type: str) -> None:
    endless = iter([form(("a", "a", b"x" * 500))[:600], *[b"x" * 500] * 1000])

    with pytest.raises(Fault) as caught:
        asyncio.run(read_image(request_of(endless, content_type), ServeLimits(body_mb=0.002)))

    assert caught.value.status == 413
    assert len(list(endless)) > 990


def test_a_request_without_a_body_is_told_so() -> None:
    assert refused([], transfer_encoding="").status == 411
    assert refused([], transfer_encoding="", content_length="0").code == "empty_body"
    assert refused([]).code == "empty_body"


@pytest.mark.parametrize("length", ["-1", "1e3", "9" * 30, "\u00b2"])
def test_an_odd_announced_length_is_refused(length: str) -> None:
    assert refused([b"x"], transfer_encoding="", content_length=length).status in (400, 413)


def test_a_compressed_body_is_refused() -> None:
    assert refused([b"x"], content_encoding="gzip").status == 415
    assert read([b"x"], content_encoding="identity") == b"x"


def test_a_form_is_held_twice_at_most() -> None:
    limits, size = ServeLimits(body_mb=16), 8_000_000
    head, tail = form(("a", "a.jpg", b"@")).split(b"@")

    def pieces() -> Iterator[bytes]:
        yield head
        yield from (bytes(80_000) for _ in range(100))
        yield tail

    async def peak() -> int:
        tracemalloc.start()
        data = await read_image(request_of(pieces(), FORM), limits)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert len(data) == size
        return found

    assert asyncio.run(peak()) < 2.2 * size
