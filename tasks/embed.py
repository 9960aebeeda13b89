"""Stage embed: frozen features of every accepted item, computed once per content.

Run by hand: python -m tasks.embed
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from tasks.backbones.engine import installed_engine
from tasks.backbones.feature_cache import FeatureCache, cache_folder, rows_key, shard_rows
from tasks.backbones.graph import cached_backbone
from tasks.backbones.session import run_over_files
from tasks.backbones.weights import locate
from tasks.errors import StageInputError
from tasks.onnx_session import open_session
from tasks.params import EmbedParams, Params
from tasks.reports.backbone import BackboneReport
from tasks.reports.document import replacing
from tasks.reports.engine import Engine
from tasks.reports.pins import WeightsPin
from tasks.stage import Progress, run_stage, say
from tasks.tables import EMBEDDING_INDEX, ITEMS, read_table, write_table
from tasks.workspace import Workspace

FloatMatrix = npt.NDArray[np.float32]


def embed(workspace: Workspace, params: Params) -> None:
    """Write models/backbone/ and data/embeddings/.

    Raises:
        StageInputError: items are missing, or data/engine.json is not of this environment.
        WeightsError: the backbone cannot be had.
        DataError: a file changed since it was validated.
    """
    check_engine(workspace)
    check_weights(workspace, params)
    items = read_table(workspace.items, ITEMS)
    accepted = items.filter(pc.equal(items["status"], "accepted"))
    report, graph = cached_backbone(params.backbone, workspace.root, workspace.cache)
    _keep_backbone(workspace, report, graph)
    root = workspace.data_root(params.data.path)
    files = [root / path for path in accepted["path"].to_pylist()]
    contents, threads = accepted["sha256"].to_pylist(), params.limits.of("embed").threads
    rows = features_of(files, contents, report, graph, workspace.cache, params.embed, threads)
    workspace.embeddings.mkdir(parents=True, exist_ok=True)
    # Opened for reading too, numpy hands its bytes to Python's write, which says so when a disk is full.
    with replacing(workspace.features) as draft, draft.open("w+b") as file:
        np.save(file, rows)
    write_table(accepted.select(EMBEDDING_INDEX.names), workspace.embedding_index)


def check_engine(workspace: Workspace) -> None:
    """Refuse to compute under another engine than the one DVC was told of.

    Raises:
        StageInputError: data/engine.json is missing or names other versions.
    """
    recorded, installed = Engine.read(workspace.engine), installed_engine()
    if recorded != installed:
        changed = [name for name in Engine.model_fields if getattr(recorded, name) != getattr(installed, name)]
        raise StageInputError(
            f"data/engine.json is of another environment (differs in {', '.join(changed)}); run `graft adapt`, "
            "which writes it anew"
        )


def check_weights(workspace: Workspace, params: Params) -> None:
    """Refuse weights that are not the ones DVC was told of.

    Raises:
        StageInputError: data/weights.json names others.
    """
    pinned, source = WeightsPin.read(workspace.weights_pin), locate(params.backbone, workspace.root)
    if pinned.identity != source.identity:
        raise StageInputError(
            f"data/weights.json names {pinned.name} ({pinned.identity[:12]}), params.yaml leads to {source.name} "
            f"({source.identity[:12]}); run `graft adapt`, which writes it anew"
        )


def features_of(
    files: Sequence[Path],
    items: Sequence[str],
    report: BackboneReport,
    graph: Path,
    cache: Path,
    params: EmbedParams,
    threads: int = 0,
) -> FloatMatrix:
    """Features of files by content, from the cache where it has them.

    Args:
        files: the image files.
        items: sha256 of each file's content; equal content is computed once.
        threads: of decoding and inference; 0 takes every core.
    Returns:
        (len(files), feature_width) float32.
    """
    key = rows_key(report.graph_sha256, report.preprocess, report.engine_sha256)
    known_rows = FeatureCache(cache_folder(cache, key), report.feature_width)
    rows = np.zeros((len(files), report.feature_width), dtype=np.float32)
    known = known_rows.read_into(rows, items)
    first_place = {item: place for place, item in reversed(list(enumerate(items)))}
    missing = sorted({first_place[item] for item, done in zip(items, known, strict=True) if not done})
    say(f"embed: {len(missing)} of {len(files)} items to compute, {int(known.sum())} from the cache")
    if missing:
        _compute(rows, files, items, missing, report, graph, known_rows, params, threads)
    for place, item in enumerate(items):
        rows[place] = rows[first_place[item]]
    return rows


def _compute(
    rows: FloatMatrix,
    files: Sequence[Path],
    items: Sequence[str],
    missing: Sequence[int],
    report: BackboneReport,
    graph: Path,
    known_rows: FeatureCache,
    params: EmbedParams,
    threads: int,
) -> None:
    """Fill the missing rows, keeping finished ones in the cache as it goes."""
    session, progress = open_session(graph), Progress("embed", len(missing))
    batches = run_over_files(
        session,
        ["embedding"],
        [files[place] for place in missing],
        [items[place] for place in missing],
        report.preprocess,
        params.batch_size,
        threads,
        progress.advance,
    )
    kept, computed = 0, 0
    for part, (values,) in batches:
        rows[missing[part]] = values
        computed = part.stop
        if computed - kept >= shard_rows(report.feature_width) or computed == len(missing):
            fresh = missing[kept:computed]
            known_rows.append([items[place] for place in fresh], rows[fresh])
            kept = computed


def _keep_backbone(workspace: Workspace, report: BackboneReport, graph: Path) -> None:
    workspace.backbone.mkdir(parents=True, exist_ok=True)
    with replacing(workspace.backbone / "model.onnx") as draft:
        shutil.copyfile(graph, draft)
    report.write(workspace.backbone / "backbone.json")


if __name__ == "__main__":
    run_stage("embed", embed)
