"""The endpoint that is asked most answers the same past FastAPI's router; everything else goes through it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from app_scene import app_of, png
from asgi_client import asking
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from deploy.shortcut import Shortcut


async def ask(shortcut: Shortcut, method: str, path: str) -> list[Any]:
    """The messages of a reply, and the scope last."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {"type": "http", "method": method, "path": path, "headers": [], "query_string": b""}
    await shortcut(scope, receive, send)
    return [*sent, scope]


def shortcut_of(endpoint: Any) -> Shortcut:
    async def rest(scope: Any, receive: Any, send: Any) -> None:
        await PlainTextResponse("the router")(scope, receive, send)

    async def reply(request: Request, err: Exception) -> Response:
        return PlainTextResponse(f"refused: {err}", 422)

    return Shortcut(rest, [Route("/direct", endpoint, methods=["POST"])], (ValueError,), reply)


async def answers(_: Request) -> Response:
    return PlainTextResponse("the endpoint")


async def fails(_: Request) -> Response:
    raise ValueError("no image")


async def breaks(_: Request) -> Response:
    raise RuntimeError("a defect")


def run(shortcut: Shortcut, method: str, path: str) -> tuple[int, bytes, Any]:
    import asyncio

    begin, body, scope = asyncio.run(ask(shortcut, method, path))
    return begin["status"], body["body"], scope


def test_its_routes_are_answered_and_named_for_the_counts() -> None:
    status, body, scope = run(shortcut_of(answers), "POST", "/direct")
    assert (status, body, scope["route"].path) == (200, b"the endpoint", "/direct")


@pytest.mark.parametrize(("method", "path"), [("GET", "/direct"), ("POST", "/direct/"), ("POST", "/other")])
def test_everything_else_goes_through_the_router(method: str, path: str) -> None:
    assert run(shortcut_of(answers), method, path)[:2] == (200, b"the router")


def test_what_an_endpoint_refuses_is_replied_as_elsewhere() -> None:
    assert run(shortcut_of(fails), "POST", "/direct")[:2] == (422, b"refused: no image")


def test_a_defect_is_left_to_what_goes_round_it() -> None:
    with pytest.raises(RuntimeError, match="a defect"):
        run(shortcut_of(breaks), "POST", "/direct")


def test_the_application_takes_it_for_predict_and_still_documents_the_route(
    release_template: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[str] = []
    original = Shortcut.__call__

    async def watched(self: Shortcut, scope: Any, receive: Any, send: Any) -> None:
        await original(self, scope, receive, send)
        taken.append(type(scope.get("endpoint")).__name__)  # FastAPI's router notes the endpoint; the shortcut does not

    monkeypatch.setattr(Shortcut, "__call__", watched)
    with asking(app_of(release_template)) as client:
        assert client.post("/predict", png()).status == 200
        assert client.get("/v2/health/live").status == 200
        assert "post" in client.get("/openapi.json").json["paths"]["/predict"]
    assert taken[0] == "NoneType"
    assert "function" in taken[1:]
