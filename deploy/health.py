"""What watches over a server asks: whether it may be sent requests, and its metrics."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import Response

from deploy.worker import Worker

QUIET = frozenset({"/v2/health/live", "/v2/health/ready", "/metrics"})
"""Routes that are asked every few seconds: their lines are logged at debug."""

OPEN = frozenset({"/v2/health/live", "/v2/health/ready"})
"""Routes that need no token: they say nothing but that the server lives."""


def metrics_router(worker: Worker) -> APIRouter:
    """GET /metrics."""
    router = APIRouter()

    @router.get(
        "/metrics",
        summary="Counts and times for Prometheus",
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )
    async def metrics() -> Response:
        text = await asyncio.to_thread(worker.metrics.exposition)  # it may wait for another process that sums
        return Response(text, media_type=CONTENT_TYPE_LATEST)

    return router
