"""models/adapted/: a linear head as head.safetensors, its report and its out-of-fold predictions."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa

from tasks.errors import StageInputError
from tasks.methods.contract import Adaptation, LinearHead
from tasks.methods.features import LabelledItems
from tasks.metrics import softmax
from tasks.reports import AdaptationReport, write_bytes
from tasks.tables import OUT_OF_FOLD, write_table

HEAD, REPORT, OUT_OF_FOLD_TABLE = "head.safetensors", "adapted.json", "out_of_fold.parquet"


def write_adapted(folder: Path, learned: Adaptation, report: AdaptationReport, fitted: LabelledItems) -> None:
    """Write the folder anew; equal heads give equal bytes."""
    from safetensors.numpy import save

    shutil.rmtree(folder, ignore_errors=True)
    tensors = {"weight": np.ascontiguousarray(learned.head.weight), "bias": np.ascontiguousarray(learned.head.bias)}
    write_bytes(folder / HEAD, save(tensors))
    write_table(_out_of_fold(learned, fitted), folder / OUT_OF_FOLD_TABLE)
    report.write(folder / REPORT)


def read_head(folder: Path) -> tuple[AdaptationReport, LinearHead]:
    """The report and the head that it describes.

    Raises:
        StageInputError: a file is missing or damaged, or the two do not fit.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    report, path = AdaptationReport.read(folder / REPORT), folder / HEAD
    try:
        tensors = load(path.read_bytes())
        weight, bias = tensors["weight"], tensors["bias"]
    except (OSError, KeyError, SafetensorError) as err:
        raise StageInputError(f"{path} is not a readable head ({err}); run `graft adapt` (stage adapt)") from err
    classes = len(report.labels)
    if weight.shape != (classes, report.feature_width) or bias.shape != (classes,):
        raise StageInputError(
            f"{path} holds weight {weight.shape} and bias {bias.shape}, {REPORT} names {classes} classes of "
            f"{report.feature_width} features; run `graft adapt` (stage adapt)"
        )
    return report, LinearHead(weight, bias)


def _out_of_fold(learned: Adaptation, fitted: LabelledItems) -> pa.Table:
    probabilities = softmax(learned.out_of_fold).astype(np.float32)
    rows = {
        "path": [fitted.paths[row] for row in learned.scored],
        "label": [fitted.names[fitted.labels[row]] for row in learned.scored],
        "probabilities": list(probabilities),
    }
    return pa.table(rows, schema=OUT_OF_FOLD)
