"""The paths under /v2."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from deploy.model import Model
from deploy.oip import metadata
from deploy.oip.infer import Inference, gone
from deploy.oip.openapi import INFER_FAULTS, faults, infer_operation
from deploy.oip.refused import Refused, stopping
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
    _add_infer_paths(router, worker, inference)
    return router


def _served(worker: Worker, name: str, version: str | None = None) -> Model:
    """The model, if it is the one that a path names.

    Raises:
        Refused: 404.
    """
    model = worker.engine.model
    if name != model.name:
        raise Refused(f"unknown model {name[:60]!a}{did_you_mean(name[:60], [model.name])}", 404, None)
    if version is not None and version != model.version:
        raise gone(name, version, model)
    return model


def _add_server_paths(router: APIRouter, worker: Worker, inference: Inference) -> None:
    @router.get("/v2", summary="Name, version and extensions of the server", responses=faults(401))
    async def server_metadata() -> metadata.ServerMetadata:
        return metadata.server_metadata()

    @router.get("/v2/health/live", summary="Whether the process answers")
    async def live() -> metadata.Live:
        return metadata.Live(live=True)

    @router.get("/v2/health/ready", summary="Whether new requests are wanted", responses=faults(503))
    async def ready() -> metadata.Ready:
        if worker.admission.draining:
            raise stopping()
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
    named = faults(401, 404)

    @router.get(VERSION, summary="Tensors of a version", responses=named)
    @router.get(MODEL, summary="Tensors and version of the model", responses=named)
    async def model_metadata(model_name: str, model_version: str | None = None) -> metadata.ModelMetadata:
        return metadata.model_metadata(_served(worker, model_name, model_version))

    @router.get(f"{VERSION}/config", summary="Configuration, as Triton tells it", responses=named)
    @router.get(f"{MODEL}/config", summary="Configuration, as Triton tells it", responses=named)
    async def model_config(model_name: str, model_version: str | None = None) -> metadata.ModelConfig:
        model = _served(worker, model_name, model_version)
        return metadata.model_config(model, worker.settings.serve.limits.images_per_request)

    @router.get(f"{VERSION}/ready", summary="Whether a version answers", responses=faults(401, 404, 503))
    @router.get(f"{MODEL}/ready", summary="Whether the model answers", responses=faults(401, 404, 503))
    async def model_ready(model_name: str, model_version: str | None = None) -> metadata.ModelReady:
        model = _served(worker, model_name, model_version)
        if worker.admission.draining:
            raise stopping()
        return metadata.ModelReady(name=model.name, ready=True)

    @router.get(f"{VERSION}/stats", summary="Counts of a version", responses=named)
    @router.get(f"{MODEL}/stats", summary="Counts of the version that is served", responses=named)
    async def model_statistics(model_name: str, model_version: str | None = None) -> ModelStatistics:
        model = _served(worker, model_name, model_version)
        return ModelStatistics(model_stats=[inference.statistics.of(model.name, model.version)])


def _add_infer_paths(router: APIRouter, worker: Worker, inference: Inference) -> None:
    @router.post(f"{VERSION}/infer", openapi_extra=infer_operation("infer_version"), responses=INFER_FAULTS)
    async def infer_version(model_name: str, model_version: str, request: Request) -> Response:
        return await inference.reply(request, _served(worker, model_name, model_version), model_version)

    @router.post(f"{MODEL}/infer", openapi_extra=infer_operation("infer"), responses=INFER_FAULTS)
    async def infer(model_name: str, request: Request) -> Response:
        return await inference.reply(request, _served(worker, model_name), None)
