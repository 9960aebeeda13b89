"""The backbone as one ONNX graph: exported once per weights, kept in a cache, stripped of everything local."""

from __future__ import annotations

import shutil
from importlib.metadata import version
from pathlib import Path

from tasks.backbones.engine import installed_engine
from tasks.backbones.registry import find_backbone
from tasks.backbones.weights import LoadedWeights, WeightsSource, load, locate
from tasks.digests import bytes_sha256, file_sha256, value_sha256
from tasks.errors import StageInputError, WeightsError
from tasks.params import BackboneParams
from tasks.reports.backbone import BackboneReport
from tasks.reports.document import write_bytes
from tasks.stage import without_collector

GRAPH_VERSION = 1
"""Raised when the same weights would give another graph."""


def cached_backbone(params: BackboneParams, root: Path, cache: Path) -> tuple[BackboneReport, Path]:
    """The report and the ONNX file of the backbone; exported first (with torch) where the cache lacks it.

    Raises:
        WeightsError: see `tasks.backbones.weights`.
    """
    source = locate(params, root)
    folder = cache / "backbones" / _cache_key(params, source)
    found = _read_cached(folder)
    if found is None:
        with without_collector():
            from tasks.backbones.torch_export import export_features

            weights = load(params, source)
            graph = export_features(find_backbone(params.name), weights)
        _fill(folder, params, source, weights, graph)
        found = _read_cached(folder)
    if found is None:
        raise WeightsError(f"{folder} cannot be read back after it was written; check the disk")
    engine = value_sha256(installed_engine().model_dump(mode="json", exclude={"schema_version"}))
    return found.model_copy(update={"engine_sha256": engine}), folder / "model.onnx"


def _cache_key(params: BackboneParams, source: WeightsSource) -> str:
    exporter = {name: version(name) for name in ("torch", "torchvision", "onnx", "onnxscript")}
    return value_sha256(
        {
            "architecture": params.name,
            "weights": source.identity,
            "preprocess": params.preprocess.model_dump(mode="json"),
            "exporter": exporter,
            "graph_version": GRAPH_VERSION,
        }
    )[:24]


def _read_cached(folder: Path) -> BackboneReport | None:
    if not (folder / "backbone.json").exists():
        return None
    try:
        report = BackboneReport.read(folder / "backbone.json")
    except StageInputError:
        report = None
    if report is None or not _is_file_with(folder / "model.onnx", report.graph_sha256):
        shutil.rmtree(folder, ignore_errors=True)
        return None
    return report


def _is_file_with(path: Path, sha256: str) -> bool:
    return path.is_file() and file_sha256(path) == sha256


def _fill(folder: Path, params: BackboneParams, source: WeightsSource, weights: LoadedWeights, graph: bytes) -> None:
    report = BackboneReport(
        architecture=params.name,
        weights=source.name,
        weights_sha256=weights.sha256,
        graph_sha256=bytes_sha256(graph),
        engine_sha256="",
        feature_width=find_backbone(params.name).feature_width,
        preprocess=weights.preprocess,
    )
    write_bytes(folder / "model.onnx", graph)
    report.write(folder / "backbone.json")
