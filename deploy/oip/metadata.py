"""What the server tells of itself and of its model: the protocol's metadata, Triton's index and configuration."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Literal

from pydantic import BaseModel

from deploy.model import Model
from deploy.oip.tensors import PLATFORM, Tensor, inputs_of, outputs_of

EXTENSIONS = ["binary_tensor_data", "classification", "model_repository", "model_configuration", "statistics"]


class ErrorObject(BaseModel):
    """Every reply under /v2 that is no success."""

    error: str


class Live(BaseModel):
    """The process answers."""

    live: bool


class Ready(BaseModel):
    """New requests are wanted."""

    ready: bool


class ModelReady(BaseModel):
    """The model answers."""

    name: str
    ready: bool


class ServerMetadata(BaseModel):
    """Name and version of the server, and what it speaks beyond the protocol's core."""

    name: str
    version: str
    extensions: list[str]


class TensorMetadata(BaseModel):
    """A tensor; -1 is a dimension of any size."""

    name: str
    datatype: Literal["UINT8", "BYTES", "FP32"]
    shape: list[int]


class ModelMetadata(BaseModel):
    """The model; of the inputs a request gives one."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]
    parameters: dict[str, str]


class ModelList(BaseModel):
    """Names of the models."""

    models: list[str]


class IndexEntry(BaseModel):
    """A model of the repository, as Triton lists it."""

    name: str
    version: str
    state: Literal["READY"]
    reason: str


class ConfigTensor(BaseModel):
    """A tensor in Triton's configuration; the images of a request are left out of `dims`."""

    name: str
    data_type: str
    dims: list[int]
    optional: bool | None = None


class ModelConfig(BaseModel):
    """What Triton's tools (perf_analyzer) ask before they send requests."""

    name: str
    platform: str
    backend: str
    max_batch_size: int
    input: list[ConfigTensor]
    output: list[ConfigTensor]


def server_metadata() -> ServerMetadata:
    """Of this server."""
    try:
        found = version("graft")
    except PackageNotFoundError:
        found = "0"
    return ServerMetadata(name="graft", version=found, extensions=EXTENSIONS)


def model_metadata(model: Model) -> ModelMetadata:
    """Of a model; `parameters` name its release."""
    return ModelMetadata(
        name=model.name,
        versions=[model.version],
        platform=PLATFORM,
        inputs=[_described(tensor) for tensor in inputs_of(model)],
        outputs=[_described(tensor) for tensor in outputs_of(model)],
        parameters={"manifest_sha256": model.digest},
    )


def model_config(model: Model, most_images: int) -> ModelConfig:
    """Of a model that takes `most_images` images in a request."""
    return ModelConfig(
        name=model.name,
        platform=PLATFORM,
        backend="onnxruntime",
        max_batch_size=most_images,
        input=[_configured(tensor, optional=True) for tensor in inputs_of(model)],
        output=[_configured(tensor) for tensor in outputs_of(model)],
    )


def index_entry(model: Model) -> IndexEntry:
    """Of a model that is served."""
    return IndexEntry(name=model.name, version=model.version, state="READY", reason="")


def _described(tensor: Tensor) -> TensorMetadata:
    return TensorMetadata(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)


def _configured(tensor: Tensor, optional: bool | None = None) -> ConfigTensor:
    kind = {"BYTES": "STRING"}.get(tensor.datatype, tensor.datatype)
    return ConfigTensor(name=tensor.name, data_type=f"TYPE_{kind}", dims=tensor.shape[1:] or [1], optional=optional)
