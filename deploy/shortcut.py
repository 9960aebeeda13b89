"""Straight to the endpoints that are asked most."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

Reply = Callable[[Request, Exception], Awaitable[Response]]


class Shortcut:
    """Calls a route's endpoint, which takes the request alone, past the router, its exit stacks and dependencies.

    What FastAPI does between the middlewares and such an endpoint costs a fifth of a request's processor time outside
    the model. The route stays where it is, for the documentation and for every other method.
    """

    def __init__(
        self, app: ASGIApp, routes: Sequence[BaseRoute], kinds: tuple[type[Exception], ...], reply: Reply
    ) -> None:
        """`reply` answers what an endpoint raises, if it is one of these kinds."""
        self._app, self._kinds, self._reply = app, kinds, reply
        plain = [route for route in routes if isinstance(route, Route)]
        self._routes = {(method, route.path): route for route in plain for method in route.methods or ()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = self._routes.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        if route is None:
            await self._app(scope, receive, send)
            return
        scope["route"] = route
        request = Request(scope, receive)
        try:
            response = await route.endpoint(request)
        except self._kinds as err:
            response = await self._reply(request, err)
        await response(scope, receive, send)
