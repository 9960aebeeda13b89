"""Stage review: the items that a person should look at, as a list to fill in and as the data page.

Run by hand: python -m tasks.review
"""

from __future__ import annotations

import csv
import io

import numpy as np

from tasks.confident_learning import label_margin, likely_wrong
from tasks.errors import StageInputError
from tasks.out_of_fold import out_of_fold
from tasks.params import Params
from tasks.plots.validation_page import write_validation_page
from tasks.reports import KINDS, ReviewEntry, ReviewReport, write_bytes
from tasks.stage import run_stage, say
from tasks.tables import EMBEDDING_INDEX, SPLITS, read_table
from tasks.workspace import Workspace

COLUMNS = (
    "rank", "kind", "path", "label", "suggested", "score", "reason", "other", "other_label",
    "action", "corrected_label", "who", "why", "sha256",
)  # fmt: skip


def review(workspace: Workspace, params: Params) -> None:
    """Write reports/review.json, reports/review.csv and reports/validation.html.

    Raises:
        StageInputError: splits and embeddings are missing, damaged, or not of the same items.
    """
    splits = read_table(workspace.splits, SPLITS)
    index = read_table(workspace.embedding_index, EMBEDDING_INDEX)
    if not index.equals(splits.select(EMBEDDING_INDEX.names)):
        raise StageInputError(
            f"{workspace.embedding_index} lists other items than {workspace.splits}; run `graft adapt` (stage split)"
        )
    rows = splits.to_pydict()
    features = np.load(workspace.features, allow_pickle=False)
    labels = np.array(rows["label_index"], dtype=np.int64)
    groups = np.unique(
        [group or path for group, path in zip(rows["group"], rows["path"], strict=True)], return_inverse=True
    )[1]
    found = out_of_fold(features, labels, groups, params.review.folds, params.review.seed)
    names = dict(zip(rows["label_index"], rows["label"], strict=True))
    margin = label_margin(found.probabilities, labels)
    wrong = np.flatnonzero(likely_wrong(found.probabilities, labels) & found.scored)
    order = wrong[np.argsort(margin[wrong], kind="stable")][: params.review.max_items]
    entries = [
        ReviewEntry(
            rank=rank,
            kind="likely_wrong",
            path=rows["path"][row],
            sha256=rows["sha256"][row],
            label=rows["label"][row],
            suggested=names[int(found.probabilities[row].argmax())],
            score=round(float((1 - margin[row]) / 2), 4),
            reason=f"the others look like {names[int(found.probabilities[row].argmax())]}",
            side=rows["side"][row],
        )
        for rank, row in enumerate(order, 1)
    ]
    report = ReviewReport(
        items=len(labels),
        scored=int(found.scored.sum()),
        confirmed=0,
        accuracy=round(float((found.probabilities.argmax(axis=1) == labels)[found.scored].mean()), 4),
        found={kind: len(wrong) if kind == "likely_wrong" else 0 for kind in KINDS},
        entries=entries,
    )
    report.write(workspace.review_report)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    write_bytes(workspace.review_list, text.getvalue().encode())
    write_validation_page(workspace, params, reviewed=True)
    say(f"review: {len(entries)} items to look at, see reports/validation.html")


if __name__ == "__main__":
    run_stage("review", review)
