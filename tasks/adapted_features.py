"""Features of items under the network that will be served: the backbone's own, or the one that was trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tasks.backbones.session import run_over_files
from tasks.methods.contract import Float32Array
from tasks.methods.features import LabelledItems
from tasks.onnx_session import open_session
from tasks.params import Params
from tasks.reports.backbone import BackboneReport
from tasks.stage import Progress
from tasks.workspace import Workspace


def features_under(
    workspace: Workspace, params: Params, graph: Path | None, items: LabelledItems, stage: str = "evaluate"
) -> Float32Array:
    """(items, width) float32 features, from file bytes through ONNX Runtime as a server computes them.

    Args:
        graph: the trained network's feature graph; None: the backbone's, whose features the items bring along.
        stage: whose limits of threads hold, and whose progress is told.
    Raises:
        DataError: a file changed since it was validated or no longer decodes.
        StageInputError: the graph cannot be opened.
    """
    if graph is None:
        return items.features
    backbone = BackboneReport.read(workspace.backbone / "backbone.json")
    root, progress = workspace.data_root(params.data.path), Progress(stage, len(items.paths))
    rows = np.zeros((len(items.paths), backbone.feature_width), dtype=np.float32)
    batches = run_over_files(
        open_session(graph),
        ["embedding"],
        [root / path for path in items.paths],
        items.sha256,
        backbone.preprocess,
        params.embed.batch_size,
        params.limits.of(stage).threads,
        progress.advance,
    )
    for part, (values,) in batches:
        rows[part] = values
    return rows
