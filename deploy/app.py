"""The HTTP application of one worker: routers over what they share, and what is started and ended with it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from deploy.auth import TokenGuard
from deploy.capture import open_capture
from deploy.engine import AnswerFailed, Engine, Overloaded
from deploy.faults import Fault, fault_handler
from deploy.health import OPEN, metrics_router
from deploy.metrics import Metrics
from deploy.middleware import Envelope
from deploy.model import Model
from deploy.oip.routes import oip_router
from deploy.page_routes import PAGE_PATHS, page_router
from deploy.predict import predict_router
from deploy.settings import Settings
from deploy.shadow_routes import shadow_router
from deploy.shortcut import Shortcut
from deploy.watch import Watch, load_first
from deploy.worker import Worker
from tasks.decoding import UndecodableImage

FAULTS = (Fault, Overloaded, AnswerFailed, UndecodableImage, RequestValidationError, HTTPException)
"""What routes raise that is a reply; anything else is a defect."""
Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


def make_app(settings: Settings, model: Model | None = None) -> FastAPI:
    """The application over one model.

    Raises:
        ParamsError: there is no token where the settings name one, or no pyarrow for what is to be captured.
        ReleaseError: there is no release that may be served.
    """
    model = model or load_first(settings)
    metrics, token_file = Metrics(), Path(settings.serve.token_file) if settings.serve.token_file else None
    capture = open_capture(settings.serve, metrics)
    worker = Worker(settings, metrics, Engine(model, settings.serve, metrics), capture)
    watch = Watch(settings, worker.engine, metrics)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await worker.engine.start()
        if capture:
            capture.start()
        watch.start()
        try:
            yield
        finally:
            await asyncio.to_thread(watch.stop)
            await worker.engine.stop()
            if capture:
                await asyncio.to_thread(capture.close)

    return compose(worker, lifespan, TokenGuard.of(token_file, os.environ))


def compose(worker: Worker, lifespan: Lifespan | None = None, guard: TokenGuard | None = None) -> FastAPI:
    """Every route over one worker, with the same faults, headers, counts and log lines round all of them."""
    serve = worker.settings.serve
    app = FastAPI(
        title="Graft",
        description="Answers images by the release in production.",
        version="1",
        lifespan=lifespan,
        docs_url=None,  # FastAPI's pages load their scripts from a CDN
        redoc_url=None,
        redirect_slashes=False,  # a redirect would name the host that the client claims
    )
    predict = predict_router(worker)
    app.include_router(predict)
    for router in (oip_router, metrics_router, shadow_router, page_router):
        app.include_router(router(worker))
    reply = fault_handler(worker.metrics, serve.retry_after_seconds)
    for kind in FAULTS:
        app.add_exception_handler(kind, reply)
    app.add_middleware(Shortcut, routes=predict.routes, kinds=FAULTS, reply=reply)
    open_paths = OPEN | PAGE_PATHS | ({"/metrics"} if serve.open_metrics else set())
    guard = guard or TokenGuard()
    app.add_middleware(Envelope, metrics=worker.metrics, guard=guard, open_paths=open_paths)
    app.state.worker, app.state.guard, app.state.open_paths = worker, guard, open_paths  # for the server's protocol
    return app
