"""Compressed request bodies, opened up to the size that a plain body may have."""

from __future__ import annotations

import zlib

from deploy.oip.refused import Refused

_WINDOWS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
CODINGS = frozenset(_WINDOWS)


def opened_body(body: bytes, encoding: str | None, most_bytes: int) -> bytes:
    """The body as it was before the client compressed it.

    Args:
        encoding: the Content-Encoding header; gzip, deflate (zlib's format), identity or None.
        most_bytes: largest size of what comes out; nothing beyond it is ever made.
    Raises:
        Refused: another encoding (415), a larger body (413), or damaged data.
    """
    name = (encoding or "identity").strip().lower()
    if name in ("identity", ""):
        return body
    if name not in _WINDOWS:
        raise Refused(f"Content-Encoding {name[:40]!a} is not supported; send gzip, deflate or none", 415, "format")
    opener = zlib.decompressobj(_WINDOWS[name])
    try:
        opened = opener.decompress(body, most_bytes + 1)
    except zlib.error as err:
        raise Refused(f"the body is no {name} data: {err}") from err
    if len(opened) > most_bytes:
        raise Refused(f"the body is larger than {most_bytes} bytes when decompressed", 413, "too_large")
    if not opener.eof:
        raise Refused(f"the body's {name} data are cut short")
    if opener.unused_data:
        raise Refused(f"{len(opener.unused_data)} bytes follow the body's {name} data")
    return opened
