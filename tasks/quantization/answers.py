"""What several graphs answer to the test items, each of which is read once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tasks.backbones.session import run_over_files
from tasks.onnx_session import open_session
from tasks.params import Params
from tasks.preprocess import Preprocess
from tasks.reports.quantization import VariantName
from tasks.stage import Progress
from tasks.tables import PREDICTIONS
from tasks.workspace import Workspace

FloatMatrix = npt.NDArray[np.float32]


class _SideBySide:
    """Several sessions asked as one: one output of each, in order."""

    def __init__(self, graphs: Sequence[bytes]) -> None:
        self.sessions = [open_session(graph) for graph in graphs]

    def run(self, outputs: list[str], feed: dict[str, Any]) -> list[FloatMatrix]:
        return [session.run(outputs, feed)[0] for session in self.sessions]


def answers_of(
    workspace: Workspace,
    params: Params,
    graphs: Mapping[VariantName, bytes],
    preprocess: Preprocess,
    gated: pa.Table,
) -> dict[VariantName, FloatMatrix]:
    """(test items, classes) probabilities of each graph, from file bytes on, rows in the order of `gated`.

    Raises:
        DataError: a file is gone, changed since it was validated or no longer decodes.
    """
    root, progress = workspace.data_root(params.data.path), Progress("export", len(gated))
    parts: dict[VariantName, list[FloatMatrix]] = {name: [] for name in graphs}
    batches = run_over_files(
        _SideBySide(list(graphs.values())),
        ["probabilities"],
        [root / path for path in gated["path"].to_pylist()],
        gated["sha256"].to_pylist(),
        preprocess,
        params.embed.batch_size,
        params.limits.of("export").threads,
        progress.advance,
    )
    for _, values in batches:
        for name, rows in zip(graphs, values, strict=True):
            parts[name].append(rows)
    return {name: np.concatenate(rows) for name, rows in parts.items()}


def predictions_table(gated: pa.Table, probabilities: FloatMatrix, labels: Sequence[str]) -> pa.Table:
    """The same items with other answers, as PREDICTIONS has them."""
    rows = {
        "path": gated["path"],
        "sha256": gated["sha256"],
        "label": gated["label"],
        "predicted": [labels[place] for place in probabilities.argmax(axis=1)],
        "probability": probabilities.max(axis=1),
        "probabilities": list(probabilities),
    }
    return pa.table(rows, schema=PREDICTIONS)
