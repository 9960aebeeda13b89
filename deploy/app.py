"""The HTTP application of one worker."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from deploy.engine import Answer, Engine, Overloaded
from deploy.model import Model
from deploy.settings import Settings
from tasks.preprocess import UndecodableImage


def make_app(settings: Settings, model: Model) -> FastAPI:
    """The application over one model."""
    engine = Engine(model, settings.serve)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await engine.start()
        yield
        await engine.stop()

    app = FastAPI(title="Graft", lifespan=lifespan)

    @app.post("/predict")
    async def predict(request: Request) -> Any:
        try:
            answer = await engine.answer(await request.body())
        except Overloaded:
            retry = {"Retry-After": str(settings.serve.retry_after_seconds)}
            return JSONResponse({"error": "overloaded"}, 503, retry)
        except UndecodableImage as err:
            return JSONResponse({"error": str(err)}, 422)
        return prediction(answer, settings.serve.top_k, settings.serve.abstain_below)

    return app


def prediction(answer: Answer, top_k: int, abstain_below: float) -> dict[str, Any]:
    """The reply of /predict."""
    best = np.argsort(-answer.probabilities, kind="stable")[:top_k]
    top = [{"label": answer.model.labels[place], "probability": float(answer.probabilities[place])} for place in best]
    return {
        "predictions": top,
        "abstained": bool(answer.probabilities[best[0]] < abstain_below),
        "model": answer.model.name,
        "version": answer.model.version,
    }
