"""models/adapted/: a linear head, the network below it where it was trained, and what they are held against.

head.safetensors          the head; adapted.json: its report; out_of_fold.parquet: the linear probe's predictions
body.safetensors          the network as trained, by torchvision's names
graph.onnx                the same as a feature graph
probe.safetensors         the linear probe, where something else was kept
from_scratch/             head and graph of the same network trained from random weights
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from tasks.digests import bytes_sha256, file_sha256, value_sha256
from tasks.errors import StageInputError
from tasks.methods.contract import Adaptation, LinearHead
from tasks.methods.features import LabelledItems
from tasks.methods.network_contract import TrainedNetwork
from tasks.metrics import softmax
from tasks.preprocess import Preprocess
from tasks.reports import AdaptationReport, write_bytes
from tasks.tables import OUT_OF_FOLD, write_table

HEAD, REPORT, OUT_OF_FOLD_TABLE = "head.safetensors", "adapted.json", "out_of_fold.parquet"
BODY, GRAPH, PROBE, FROM_SCRATCH = "body.safetensors", "graph.onnx", "probe.safetensors", "from_scratch"
MEND = "run `graft adapt` (stage adapt)"


@dataclass(frozen=True)
class Adapted:
    """The adapted model: its head, and its own feature graph, or None where the backbone's serves."""

    report: AdaptationReport
    head: LinearHead
    graph: Path | None


def write_adapted(
    folder: Path,
    probe: Adaptation,
    fitted: LabelledItems,
    report: AdaptationReport,
    trained: TrainedNetwork | None = None,
    from_scratch: TrainedNetwork | None = None,
) -> None:
    """Write the folder anew; equal models give equal bytes.

    Args:
        probe: the linear probe of the items `fitted`; the model itself where nothing was `trained`.
    """
    shutil.rmtree(folder, ignore_errors=True)
    if trained is None:
        _write_head(folder / HEAD, probe.head)
    else:
        _write_head(folder / HEAD, trained.head)
        _write_head(folder / PROBE, probe.head)
        write_bytes(folder / BODY, trained.body)
        write_bytes(folder / GRAPH, trained.graph)
    if from_scratch is not None:
        _write_head(folder / FROM_SCRATCH / HEAD, from_scratch.head)
        write_bytes(folder / FROM_SCRATCH / GRAPH, from_scratch.graph)
    write_table(_out_of_fold(probe, fitted), folder / OUT_OF_FOLD_TABLE)
    report.write(folder / REPORT)


def graph_digest(trained: TrainedNetwork | None) -> str | None:
    """sha256 of the trained network's graph, as the report names it."""
    return None if trained is None else bytes_sha256(trained.graph)


def read_adapted(folder: Path) -> Adapted:
    """The adapted model.

    Raises:
        StageInputError: a file is missing or damaged, or they do not fit each other.
    """
    report = AdaptationReport.read(folder / REPORT)
    head = _read_head(folder / HEAD, report)
    if report.adapted_graph_sha256 is None:
        return Adapted(report, head, None)
    return Adapted(report, head, _graph_of(folder / GRAPH, report.adapted_graph_sha256))


def read_probe(folder: Path) -> LinearHead | None:
    """The linear probe that stands beside a trained network; None: the probe is the model itself.

    Raises:
        StageInputError: the file is missing or damaged, or does not fit the report.
    """
    report = AdaptationReport.read(folder / REPORT)
    return None if report.adapted_graph_sha256 is None else _read_head(folder / PROBE, report)


def read_from_scratch(folder: Path) -> tuple[LinearHead, Path] | None:
    """Head and graph of the network trained from random weights; None: it was not trained.

    Raises:
        StageInputError: a file is missing or damaged, or does not fit the report.
    """
    report = AdaptationReport.read(folder / REPORT)
    if report.from_scratch is None:
        return None
    graph = _graph_of(folder / FROM_SCRATCH / GRAPH, report.from_scratch_graph_sha256)
    return _read_head(folder / FROM_SCRATCH / HEAD, report), graph


def calibrated(head: LinearHead, temperature: float) -> LinearHead:
    """The head whose logits are those of `head` divided by the temperature; the one that is served."""
    return LinearHead(head.weight / np.float32(temperature), head.bias / np.float32(temperature))


def preprocess_digest(preprocess: Preprocess) -> str:
    """sha256 of a preprocessing, as the report names it."""
    return value_sha256(preprocess.model_dump(mode="json"))


def _graph_of(graph: Path, sha256: str | None) -> Path:
    if not graph.is_file() or file_sha256(graph) != sha256:
        raise StageInputError(f"{graph} is missing or not the graph that {REPORT} names; {MEND}")
    return graph


def _write_head(path: Path, head: LinearHead) -> None:
    from safetensors.numpy import save

    tensors = {"weight": np.ascontiguousarray(head.weight), "bias": np.ascontiguousarray(head.bias)}
    write_bytes(path, save(tensors))


def _read_head(path: Path, report: AdaptationReport) -> LinearHead:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        tensors = load(path.read_bytes())
        weight, bias = tensors["weight"], tensors["bias"]
    except (OSError, KeyError, SafetensorError) as err:
        raise StageInputError(f"{path} is not a readable head ({err}); {MEND}") from err
    classes = len(report.labels)
    if weight.shape != (classes, report.feature_width) or bias.shape != (classes,):
        raise StageInputError(
            f"{path} holds weight {weight.shape} and bias {bias.shape}, {REPORT} names {classes} classes of "
            f"{report.feature_width} features; {MEND}"
        )
    return LinearHead(weight, bias)


def _out_of_fold(learned: Adaptation, fitted: LabelledItems) -> pa.Table:
    probabilities = softmax(learned.out_of_fold).astype(np.float32)
    rows = {
        "path": [fitted.paths[row] for row in learned.scored],
        "label": [fitted.names[fitted.labels[row]] for row in learned.scored],
        "probabilities": list(probabilities),
    }
    return pa.table(rows, schema=OUT_OF_FOLD)
