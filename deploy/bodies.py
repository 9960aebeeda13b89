"""What a client sends: one image as the body itself or as the one file of a form, read under limits, never on disk."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.datastructures import Headers
from starlette.requests import Request

from deploy.faults import Fault
from tasks.params.serve import ServeLimits

MOST_PART_HEADERS = 8
LONGEST_PART_HEADER = 4096
MEGABYTE = 1_000_000
_LONGEST_NAME = 60
_JSON = (b"application/json", b"text/json")


async def read_image(request: Request, limits: ServeLimits) -> bytes:
    """The encoded image of a request: its body, or the one file of its multipart/form-data, whatever the field's name.

    Raises:
        Fault: 400, 411, 413 or 415; the text says what is wanted.
    """
    kind, options = parse_options_header(request.headers.get("content-type"))
    if kind in _JSON or kind.endswith(b"+json"):
        raise Fault(
            415,
            "unsupported_media_type",
            "JSON is not read here: send the image's bytes as the body or as a file of multipart/form-data; "
            "tensors as JSON go to /v2/models/NAME/infer",
            "body",
        )
    if not kind.startswith(b"multipart/"):
        return await read_body(request, limits)
    if kind != b"multipart/form-data":
        raise Fault(415, "unsupported_media_type", "of multipart bodies only multipart/form-data is read", "body")
    form = _Form(options.get(b"boundary", b""))
    async for chunk in body_chunks(request, limits):
        form.feed(chunk)
    return form.image()


async def read_body(request: Request, limits: ServeLimits) -> bytes:
    """The whole body, not empty.

    Raises:
        Fault: 400, 411, 413 or 415.
    """
    parts = [chunk async for chunk in body_chunks(request, limits)]
    data = parts[0] if len(parts) == 1 else b"".join(parts)
    if not data:
        raise Fault(400, "empty_body", "the body is empty", "body")
    return data


async def body_chunks(request: Request, limits: ServeLimits, codings: Collection[str] = ()) -> AsyncIterator[bytes]:
    """The body as it comes; refused by its announced length before it is read, and by what came while it is.

    Args:
        codings: Content-Encodings that the caller opens itself, within a limit.
    Raises:
        Fault: 400 the length is no number, 411 there is none, 413 too large, 415 it is compressed.
    """
    most = int(limits.body_mb * MEGABYTE)
    _check_announced(request.headers, most, codings)
    came = 0
    async for chunk in request.stream():
        came += len(chunk)
        if came > most:
            raise _too_large(most)
        if chunk:
            yield chunk
    request.scope.setdefault("state", {})["bytes_in"] = came


def _check_announced(headers: Headers, most: int, codings: Collection[str]) -> None:
    coding = headers.get("content-encoding", "identity").strip().lower()
    if coding != "identity" and coding not in codings:
        raise Fault(415, "unsupported_encoding", "compressed bodies are not read: send it without a coding", "body")
    length = headers.get("content-length")
    if length is None:
        if "transfer-encoding" not in headers:
            raise Fault(
                411, "length_required", "there is no body, or no Content-Length that says how long it is", "body"
            )
        return
    if not (length.isascii() and length.isdigit()):
        raise Fault(400, "bad_request", "Content-Length is no number of bytes", "body")
    if len(length) > 18 or int(length) > most:
        raise _too_large(most)


def _too_large(most: int) -> Fault:
    return Fault(
        413,
        "too_large",
        f"the body is larger than {most} bytes, the most this server takes; send a smaller image",
        "too_large",
        {"Connection": "close"},
    )


class _Form:
    """Reads multipart/form-data as it comes; holds one file and the headers of one part."""

    def __init__(self, boundary: bytes) -> None:
        if not boundary:
            raise _broken("its Content-Type names no boundary")
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin,
                    "on_header_field": self._field,
                    "on_header_value": self._value,
                    "on_header_end": self._header,
                    "on_headers_finished": self._named,
                    "on_part_data": self._data,
                    "on_end": self._end,
                },
                max_header_count=MOST_PART_HEADERS,
                max_header_size=LONGEST_PART_HEADER,
            )
        except FormParserError as err:
            raise _broken("its boundary is too long") from err
        self._name, self._content, self._ended = "", list[bytes](), False
        self._key, self._text, self._disposition = b"", b"", b""

    def feed(self, chunk: bytes) -> None:
        """The next bytes of the body."""
        try:
            self._parser.write(chunk)
        except FormParserError as err:
            raise _broken(str(err)[:120]) from err

    def image(self) -> bytes:
        """The one file, when the body has ended."""
        if not self._ended:
            raise _broken("it ends before its last boundary")
        if not self._name:
            raise Fault(400, "no_file", "the form holds no file: send one, in a field `file`", "body")
        data = b"".join(self._content)
        if not data:
            raise Fault(400, "empty_file", f"the file of field {self._name} is empty", "body")
        return data

    def _begin(self) -> None:
        self._disposition = b""

    def _field(self, data: bytes, start: int, end: int) -> None:
        self._key += data[start:end]

    def _value(self, data: bytes, start: int, end: int) -> None:
        self._text += data[start:end]

    def _header(self) -> None:
        if self._key.lower() == b"content-disposition":
            self._disposition = self._text
        self._key, self._text = b"", b""

    def _named(self) -> None:
        kind, options = parse_options_header(self._disposition)
        name = _shown(options.get(b"name", b""))
        if kind != b"form-data":
            raise _broken("a part has no Content-Disposition: form-data")
        if b"filename" not in options:
            raise Fault(
                400,
                "not_a_file",
                f"field {name} is text, not a file: send one file alone (curl -F file=@photo.jpg); "
                "options go into the query (?top_k=3)",
                "body",
            )
        if self._name:
            raise Fault(400, "several_files", f"the form holds several files ({self._name}, {name}): send one", "body")
        self._name = name

    def _data(self, data: bytes, start: int, end: int) -> None:
        self._content.append(data[start:end])

    def _end(self) -> None:
        self._ended = True


def _broken(why: str) -> Fault:
    return Fault(400, "bad_form", f"the multipart body cannot be read: {why}", "body")


def _shown(name: bytes) -> str:
    """A name that a client chose, safe to show."""
    text = name.decode("utf-8", "replace")
    return ascii(text if len(text) <= _LONGEST_NAME else text[:_LONGEST_NAME] + "...")
