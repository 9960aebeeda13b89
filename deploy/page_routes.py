"""The page at / for a person with a photo: static files of this package, and what they need to know of the release."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from deploy.card_blocks import card_blocks
from deploy.model import Model
from deploy.worker import Worker
from tasks.digests import bytes_sha256
from tasks.params import ServeParams

PAGE_FILES = {
    "index.html": "text/html; charset=utf-8",
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "server.js": "text/javascript; charset=utf-8",
    "answer.js": "text/javascript; charset=utf-8",
    "card.js": "text/javascript; charset=utf-8",
    "photos.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
PAGE_PATHS = frozenset({"/", *(f"/page/{name}" for name in PAGE_FILES if name != "index.html")})
"""Paths that need no token: they are the same for everybody and say nothing of the release; /card does."""

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


@dataclass(frozen=True)
class _Content:
    data: bytes
    media_type: str
    etag: str

    @classmethod
    def of(cls, data: bytes, media_type: str) -> _Content:
        return cls(data, media_type, f'"{bytes_sha256(data)[:32]}"')

    def reply(self, request: Request) -> Response:
        """The content, or 304 where the client has it already; it always asks, so that a new version shows at once."""
        headers = {**_HEADERS, "ETag": self.etag, "Cache-Control": "private, no-cache"}
        if _has(request.headers.get("if-none-match", ""), self.etag):
            return Response(status_code=304, headers=headers)
        return Response(self.data, media_type=self.media_type, headers=headers)


def page_router(worker: Worker) -> APIRouter:
    """The routes /, /page/... and /card of one worker; the files are read once, here."""
    router = APIRouter()
    for name, media_type in PAGE_FILES.items():
        content = _Content.of((files("deploy") / "page" / name).read_bytes(), media_type)
        path = "/" if name == "index.html" else f"/page/{name}"
        router.add_api_route(path, _static(content), methods=["GET", "HEAD"], include_in_schema=False)
    known: dict[tuple[str, str], _Content] = {}

    @router.get(
        "/card",
        operation_id="card",
        summary="The release that answers now: name, version, figures, model card, and what the server takes",
        response_class=Response,
        responses={200: {"content": {"application/json": {"schema": {"type": "object"}}}}},
    )
    async def card(request: Request) -> Response:
        model = worker.engine.model
        key = (model.digest, model.version)
        if key not in known:
            known.clear()
            shown = json.dumps(release_card(model, worker.settings.serve)).encode()
            known[key] = _Content.of(shown, "application/json")
        return known[key].reply(request)

    return router


def release_card(model: Model, serve: ServeParams) -> dict[str, Any]:
    """What the page shows of a release, and what it must know to ask rightly; nothing of the server's disk."""
    metrics, preprocess, capture = model.manifest.metrics, model.opened.preprocess, serve.capture
    return {
        "name": model.name,
        "version": model.version,
        "digest": model.digest,
        "graft_version": model.manifest.graft_version,
        "labels": list(model.labels),
        "test_items": metrics.test_items,
        "accuracy": metrics.accuracy.model_dump(include={"value", "low", "high"}),
        "macro_f1": metrics.macro_f1.model_dump(include={"value", "low", "high"}),
        "resize": preprocess.resize,
        "crop": preprocess.crop,
        "top_k": serve.top_k,
        "abstain_below": serve.abstain_below,
        "formats": list(serve.limits.formats),
        "body_mb": serve.limits.body_mb,
        "max_pixels": serve.limits.max_pixels,
        "captured": capture.model_dump(include={"share", "content", "keep_days"}) if capture.share else None,
        "blocks": card_blocks(model.card),
    }


def _static(content: _Content) -> Callable[[Request], Awaitable[Response]]:
    async def static(request: Request) -> Response:
        return content.reply(request)

    return static


def _has(if_none_match: str, etag: str) -> bool:
    """RFC 9110 13.1.2, by weak comparison."""
    return any(one.strip().removeprefix("W/") in (etag, "*") for one in if_none_match.split(","))
