"""An application driven as a server drives it, with every chunk, header and disconnect in the test's hand."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI

BOUNDARY = "graft-boundary"


@dataclass
class Reply:
    """What an application sent; `status` 0: nothing. Header names are in lower case."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> Any:
        return self.json["error"]


class AsgiClient:
    """Asks an application on one event loop."""

    def __init__(self, app: FastAPI, runner: asyncio.Runner) -> None:
        self.app = app
        self._runner = runner

    def get(self, path: str, **headers: str) -> Reply:
        return self.ask("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})

    def post(self, path: str, body: bytes = b"", content_type: str = "", **headers: str) -> Reply:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if content_type:
            named["content-type"] = content_type
        return self.ask("POST", path, [body], {"content-length": str(len(body)), **named})

    def ask(
        self,
        method: str,
        path: str,
        chunks: Sequence[bytes] = (b"",),
        headers: Mapping[str, str] | None = None,
        breaks_off: bool = False,
    ) -> Reply:
        """One request, its body in these chunks; `breaks_off`: the client goes after the last of them."""
        reply, left = Reply(), list(chunks)

        async def receive() -> dict[str, Any]:
            if not left:
                return {"type": "http.disconnect"}
            chunk = left.pop(0)
            return {"type": "http.request", "body": chunk, "more_body": bool(left) or breaks_off}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                reply.status = message["status"]
                reply.headers = {name.decode().lower(): value.decode() for name, value in message["headers"]}
            else:
                reply.body += message.get("body", b"")

        self._runner.run(self.app(_scope(method, path, headers or {}), receive, send))
        return reply


def _scope(method: str, path: str, headers: Mapping[str, str]) -> dict[str, Any]:
    target, _, query = path.partition("?")
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": target,
        "raw_path": target.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 8000),
        "state": {},
    }


@contextmanager
def asking(app: FastAPI) -> Iterator[AsgiClient]:
    """A client of a started application, which is ended afterwards."""
    with asyncio.Runner() as runner:
        lifespan = app.router.lifespan_context(app)
        runner.run(_call(lifespan.__aenter__))
        try:
            yield AsgiClient(app, runner)
        finally:
            runner.run(_call(lifespan.__aexit__, None, None, None))


async def _call(function: Any, *arguments: Any) -> Any:
    return await function(*arguments)


def form(*parts: tuple[str, str | None, bytes], boundary: str = BOUNDARY) -> bytes:
    """A multipart/form-data body of (field, filename or None for a text field, content)."""
    found = b""
    for name, filename, content in parts:
        file = f'; filename="{filename}"' if filename is not None else ""
        found += f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode()
        found += content + b"\r\n"
    return found + f"--{boundary}--\r\n".encode()


FORM = f"multipart/form-data; boundary={BOUNDARY}"
