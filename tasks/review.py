"""Stage review: the items that a person should look at, as a list to fill in and as the data page.

Run by hand: python -m tasks.review
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module

import numpy as np
import pyarrow as pa

from tasks.errors import counted
from tasks.feature_rows import check_index, open_item_features
from tasks.metrics import IntVector
from tasks.out_of_fold import OutOfFold, out_of_fold
from tasks.outliers import neighbour_distances
from tasks.params import Params
from tasks.plots.validation_page import write_validation_page
from tasks.reports import KINDS, NearDuplicatePair, ReviewEntry, ReviewReport, SplitReport, write_bytes
from tasks.review_findings import (
    Finding,
    Pair,
    accuracy,
    contradictions,
    doubted,
    expected_wrong,
    knows_the_classes,
    near_ties,
    outliers,
    ranked,
)
from tasks.review_items import confirmed_items, contradicting_copies, group_numbers, label_names
from tasks.review_sheet import sheet_bytes
from tasks.stage import run_stage, say
from tasks.tables import SPLITS, read_table
from tasks.threads import one_blas_thread
from tasks.workspace import Workspace


def review(workspace: Workspace, params: Params) -> None:
    """Write reports/review.json, reports/review.csv and reports/validation.html.

    Raises:
        StageInputError: splits and embeddings are missing, damaged, or not of the same items.
        DataError: data/corrections.csv cannot be read.
    """
    report = _reviewed(workspace, params) if params.review.max_items else _not_reviewed(workspace)
    report.write(workspace.review_report)
    write_bytes(workspace.review_list, sheet_bytes(report.entries))
    write_validation_page(workspace, params, reviewed=True)
    counts = ", ".join(f"{kind.replace('_', ' ')} {report.found[kind]}" for kind in KINDS if report.found[kind])
    say(f"review: {counted(len(report.entries), 'item')} to look at ({counts or 'nothing found'})")
    say("\n".join(["  reports/validation.html shows them, reports/review.csv takes corrections", *report.notes]))


def _not_reviewed(workspace: Workspace) -> ReviewReport:
    items = read_table(workspace.splits, SPLITS).num_rows
    notes = ["nothing was reviewed: review.max_items is 0 (params.yaml)"]
    return ReviewReport(
        items=items,
        scored=0,
        confirmed=0,
        accuracy=None,
        expected_wrong=0,
        found=dict.fromkeys(KINDS, 0),
        entries=[],
        notes=notes,
    )


def _reviewed(workspace: Workspace, params: Params) -> ReviewReport:
    # to_pylist alone: Arrow imports pandas, for half a second, before it converts anything else.
    splits = read_table(workspace.splits, SPLITS)
    check_index(workspace, splits, workspace.splits, "split")
    labels = np.array(splits["label_index"].to_pylist(), dtype=np.int64)
    names = label_names(splits)
    decided = confirmed_items(splits, workspace, params.data.label_aliases)
    pairs = _near(splits, SplitReport.read(workspace.split_report).near_duplicates)
    with (
        open_item_features(workspace) as features,
        ThreadPoolExecutor(1, "import") as loading,
        one_blas_thread(),
    ):
        # The page's libraries take a second to import; the algebra runs meanwhile, outside the interpreter lock.
        for library in ("matplotlib.backends.backend_svg", "pyarrow.dataset"):
            loading.submit(import_module, library)
        probe = out_of_fold(features, labels, group_numbers(splits), max(names) + 1, params.review.max_fitted_items)
        distances = neighbour_distances(features)
    informed = knows_the_classes(probe, labels)
    wrong = expected_wrong(probe, labels) if informed else 0
    paths = {row: splits["path"][row].as_py() for pair in pairs for row in (pair.first, pair.second)}
    findings = [
        *contradictions(pairs, labels, probe.best if informed else None, names, paths),
        *doubted(probe, labels, wrong, names),
        *outliers(distances),
        *(near_ties(probe, labels, names) if informed else []),
    ]
    kept, found = ranked(findings, decided, params.review.max_items)
    copies = contradicting_copies(workspace)
    found["conflicting_near_duplicate"] += len(copies)
    listed = [*copies[: params.review.max_items], *(_entry(splits, finding, names) for finding in kept)]
    share = accuracy(probe, labels)
    return ReviewReport(
        items=len(labels),
        scored=int(probe.scored.sum()),
        confirmed=int(decided.sum()),
        accuracy=None if share is None else round(share, 4),
        expected_wrong=wrong,
        found=found,
        entries=[entry.model_copy(update={"rank": rank}) for rank, entry in enumerate(listed, 1)],
        notes=_notes(probe, labels, names, informed),
    )


def _near(splits: pa.Table, links: list[NearDuplicatePair]) -> list[Pair]:
    """The links as rows."""
    if not links:
        return []
    wanted = {path for link in links for path in (link.first, link.second)}
    rows = {path: row for row, path in enumerate(splits["path"].to_pylist()) if path in wanted}
    return [
        Pair(rows[link.first], rows[link.second], min(max(link.cosine, 0.0), 1.0))
        for link in links
        if link.first in rows and link.second in rows
    ]


def _entry(splits: pa.Table, finding: Finding, names: Mapping[int, str]) -> ReviewEntry:
    cells = splits.slice(finding.row, 1).to_pylist()[0]
    other = None if finding.other is None else splits.slice(finding.other, 1).to_pylist()[0]
    return ReviewEntry(
        rank=0,
        kind=finding.kind,
        path=cells["path"],
        sha256=cells["sha256"],
        label=cells["label"],
        suggested=None if finding.suggested is None else names[finding.suggested],
        score=round(finding.score, 4),
        reason=finding.reason,
        side=cells["side"],
        other=other and other["path"],
        other_label=other and other["label"],
    )


def _notes(probe: OutOfFold, labels: IntVector, names: Mapping[int, str], informed: bool) -> list[str]:
    lonely = sorted(names[int(label)] for label in np.unique(labels[~probe.scored]))
    notes = [f"no label of {', '.join(map(repr, lonely))} was judged: all its items are of one group"] if lonely else []
    if probe.scored.any() and not informed:
        notes.append("no label is doubted: the embeddings tell the classes apart no better than the largest class does")
    if len(probe.learned) < len(labels):
        notes.append(
            f"the probe learned from {len(probe.learned)} of {len(labels)} items (review.max_fitted_items), judged all"
        )
    return notes


if __name__ == "__main__":
    run_stage("review", review)
