"""GET /shadow: how the release in the shadow compares with the one that answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter

from deploy.shadow import ShadowView

if TYPE_CHECKING:
    from deploy.worker import Worker


def shadow_router(worker: Worker) -> APIRouter:
    """The route, of one worker process: what it compared itself."""
    router = APIRouter(tags=["shadow"])

    @router.get("/shadow", summary="How the shadow release compares with the live one, in this worker")
    async def shadow() -> ShadowView:
        return worker.engine.shadow.view()

    return router
