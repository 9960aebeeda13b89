"""POST /predict: an image in, the likeliest labels out."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from fastapi import APIRouter, Request
from starlette.responses import Response

from deploy.bodies import read_image
from deploy.engine import Answer
from deploy.faults import Fault
from deploy.predict_schema import predict_operation
from deploy.worker import Worker

MOST_TOP_K = 1000
"""As serve.top_k allows; more labels than the model has are all of them."""


def predict_router(worker: Worker) -> APIRouter:
    """The route /predict of one worker."""
    router, serve = APIRouter(), worker.settings.serve

    @router.post("/predict", openapi_extra=predict_operation(serve), include_in_schema=True)
    async def predict(request: Request) -> Response:
        state, top_k = request.scope["state"], wanted_top_k(request, serve.top_k)
        data = await read_image(request, serve.limits)
        answer = await worker.engine.answer(data, state["request_id"])
        state["version"] = answer.model.version
        content = prediction(answer, top_k, serve.abstain_below, state["request_id"])
        if worker.capture is not None:
            worker.capture.offer(state["request_id"], data, answer)
        return Response(json.dumps(content).encode(), media_type="application/json")

    return router


def wanted_top_k(request: Request, default: int) -> int:
    """`top_k` of the query, else the server's own.

    Raises:
        Fault: 400 it is no whole number from 1 to 1000, is given twice, or the query asks for something else.
    """
    if not request.scope["query_string"]:
        return default
    query = request.query_params.multi_items()
    if unknown := next((key for key, _ in query if key != "top_k"), None):
        raise Fault(400, "bad_query", f"unknown query parameter {unknown[:60]!a}; known: top_k", "body")
    values = [value for _, value in query]
    if not values:
        return default
    digits = values[0]
    if len(values) > 1 or not (digits.isascii() and digits.isdigit() and len(digits) <= 4):
        raise _bad_top_k()
    if not 1 <= (top_k := int(digits)) <= MOST_TOP_K:
        raise _bad_top_k()
    return top_k


def _bad_top_k() -> Fault:
    return Fault(400, "bad_query", f"top_k must be one whole number from 1 to {MOST_TOP_K}", "body")


def prediction(answer: Answer, top_k: int, abstain_below: float, request_id: str) -> dict[str, Any]:
    """The reply: at most `top_k` labels, the likeliest first (ties in the order of labels.json).

    `abstained` says that even the likeliest is below serve.abstain_below; the labels are given nevertheless.
    """
    model, scores = answer.model, answer.probabilities
    best = np.argsort(-scores, kind="stable")[:top_k]
    top = [{"label": model.labels[place], "probability": round(float(scores[place]), 7)} for place in best]
    return {
        "predictions": top,
        "abstained": bool(scores[best[0]] < abstain_below),
        "model": model.name,
        "version": model.version,
        "digest": model.digest,
        "request_id": request_id,
    }
