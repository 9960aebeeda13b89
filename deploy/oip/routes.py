"""The paths under /v2."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from deploy.model import Model
from deploy.oip import metadata
from deploy.oip.infer import Inference, gone
from deploy.oip.openapi import INFER_FAULTS, faults, infer_operation, path_parameters
from deploy.oip.refused import Refused, not_answering, stopping
from deploy.oip.statistics import ModelStatistics
from deploy.worker import Worker
from tasks.errors import did_you_mean

MODEL, VERSION = "/v2/models/{model_name}", "/v2/models/{model_name}/versions/{model_version}"


def oip_router(worker: Worker) -> APIRouter:
    """Every path of the protocol, for the one model of this worker."""
    router = APIRouter(tags=["Open Inference Protocol"])
    inference = Inference(worker)
    _add_server_paths(router, worker, inference)
    _add_model_paths(router, worker, inference)
    return router


def _named(worker: Worker, request: Request) -> Model:
    """The model, if it is the one that the path names.

    Raises:
        Refused: 404.
    """
    model, named = worker.engine.model, request.path_params
    if named["model_name"] != model.name:
        name = named["model_name"][:60]
        raise Refused(f"unknown model {name!a}{did_you_mean(name, [model.name])}", 404, None)
    if named.get("model_version", model.version) != model.version:
        raise gone(model.name, named["model_version"], model)
    return model


def _check_ready(worker: Worker) -> None:
    """Raise a fault (503) where new requests are not wanted."""
    if worker.admission.draining:
        raise stopping()
    if not worker.engine.alive:
        raise not_answering()


def _add_server_paths(router: APIRouter, worker: Worker, inference: Inference) -> None:
    @router.get("/v2", summary="Name, version and extensions of the server", responses=faults(401))
    async def server_metadata() -> metadata.ServerMetadata:
        return metadata.server_metadata()

    @router.get("/v2/health/live", summary="Whether the process answers")
    async def live() -> metadata.Live:
        return metadata.Live(live=True)

    @router.get("/v2/health/ready", summary="Whether new requests are wanted", responses=faults(503))
    async def ready() -> metadata.Ready:
        _check_ready(worker)
        return metadata.Ready(ready=True)

    @router.get("/v2/models", summary="Names of the models", responses=faults(401))
    async def models() -> metadata.ModelList:
        return metadata.ModelList(models=[worker.engine.model.name])

    @router.post("/v2/repository/index", summary="Models and versions, as Triton lists them", responses=faults(401))
    async def index() -> list[metadata.IndexEntry]:
        return [metadata.index_entry(worker.engine.model)]

    @router.get("/v2/models/stats", summary="Counts of the model that is served", responses=faults(401))
    async def all_statistics() -> ModelStatistics:
        model = worker.engine.model
        return ModelStatistics(model_stats=[inference.statistics.of(model.name, model.version)])


def _add_model_paths(router: APIRouter, worker: Worker, inference: Inference) -> None:
    for path in (MODEL, VERSION):
        _add_paths_of(path, router, worker, inference)


def _add_paths_of(path: str, router: APIRouter, worker: Worker, inference: Inference) -> None:
    of = "the model" if path == MODEL else "a version"
    named: dict[str, Any] = {"responses": faults(401, 404), "openapi_extra": path_parameters(path)}

    @router.get(path, summary=f"Tensors of {of}", **named)
    async def model_metadata(request: Request) -> metadata.ModelMetadata:
        return metadata.model_metadata(_named(worker, request))

    @router.get(f"{path}/config", summary=f"Configuration of {of}, as Triton tells it", **named)
    async def model_config(request: Request) -> metadata.ModelConfig:
        return metadata.model_config(_named(worker, request), worker.settings.serve.limits.images_per_request)

    @router.get(f"{path}/ready", summary=f"Whether {of} answers", **{**named, "responses": faults(401, 404, 503)})
    async def model_ready(request: Request) -> metadata.ModelReady:
        model = _named(worker, request)
        _check_ready(worker)
        return metadata.ModelReady(name=model.name, ready=True)

    @router.get(f"{path}/stats", summary=f"Counts of {of}", **named)
    async def model_statistics(request: Request) -> ModelStatistics:
        model = _named(worker, request)
        return ModelStatistics(model_stats=[inference.statistics.of(model.name, model.version)])

    @router.post(f"{path}/infer", openapi_extra=infer_operation(path), responses=INFER_FAULTS)
    async def infer(request: Request) -> Response:
        return await inference.reply(request, _named(worker, request), request.path_params.get("model_version"))
