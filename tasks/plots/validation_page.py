"""reports/validation.html, the data page: may the data be used, what was set aside, what a person should look at.

Written by review, by validate when the contract is broken (no later stage runs then), and by `graft data check --page`.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pyarrow as pa

from tasks.params import Params
from tasks.plots import data_charts, item_rows, pair_rows, review_rows
from tasks.plots.item_rows import Fact
from tasks.plots.mends import CONFLICT
from tasks.plots.page import Pictures, render
from tasks.plots.thumbnails import make_thumbnails
from tasks.reports import OverlayReport, ReviewReport, SplitReport, ValidationReport, write_bytes
from tasks.tables import ITEMS, SPLITS, read_table
from tasks.workspace import Workspace

OPEN_ROWS = 20
MOST_CLASSES = 500
MOST_LISTED = 50
MOST_COPIES = 4


@dataclass(frozen=True)
class DataSources:
    """Everything the page shows; `split`, `splits` and `review` are there once those stages have run.

    Args:
        root: the folder that the items' paths are relative to; pictures are read from there.
        items: schema ITEMS.
        splits: schema SPLITS.
        rest: what names all that the page only counts.
    """

    params: Params
    report: ValidationReport
    items: pa.Table
    root: Path
    split: SplitReport | None = None
    splits: pa.Table | None = None
    review: ReviewReport | None = None
    rest: str = "reports/validation.json"


def write_validation_page(workspace: Workspace, params: Params, *, reviewed: bool) -> None:
    """Write reports/validation.html.

    Args:
        reviewed: whether split and review have run on these items; otherwise their files are not looked at.
    Raises:
        StageInputError: a report or table that must be there is missing or unreadable.
    """
    sources = DataSources(
        params=params,
        report=ValidationReport.read(workspace.validation),
        items=read_table(workspace.items, ITEMS),
        root=workspace.data_root(params.data.path),
        split=SplitReport.read(workspace.split_report) if reviewed else None,
        splits=read_table(workspace.splits, SPLITS) if reviewed else None,
        review=ReviewReport.read(workspace.review_report) if reviewed else None,
    )
    write_bytes(workspace.validation_page, render_validation_page(sources).encode())


def render_validation_page(sources: DataSources) -> str:
    """The page as text."""
    paths = _named_paths(sources)
    facts = item_rows.item_facts(sources.items, paths)
    sections = _sections(sources, facts)
    with ThreadPoolExecutor(1, "import") as loading:
        # matplotlib takes half a second to import; Pillow decodes meanwhile, outside the interpreter lock.
        loading.submit(import_module, "matplotlib.backends.backend_svg")
        pictures = _pictures(sources, sections, facts)
    context = {**vars(sources), **sections, **_figures(sources)}
    return render("validation.html.j2", pictures, context, {})


def _named_paths(sources: DataSources) -> list[str]:
    report, review = sources.report, sources.review
    failing = [item.path for rule in report.rules for item in rule.failing[: item_rows.MOST_CARDS * 4]]
    reviewed = [path for entry in review.entries for path in (entry.path, entry.other) if path] if review else []
    return [*(item.path for item in report.quarantined), *failing, *reviewed, *pair_rows.pair_paths(sources.split)]


def _sections(sources: DataSources, facts: dict[str, Fact]) -> dict[str, Any]:
    """The lists of files, in the order in which they deserve a picture."""
    split, review = sources.split, sources.review
    sides = pair_rows.sides_of(sources.splits, pair_rows.pair_paths(split)) if sources.splits is not None else {}
    copies = sum(len(rule.failing) for rule in sources.report.rules if rule.rule == CONFLICT)
    groups = review_rows.review_groups(review, copies) if review else []
    return {
        "quarantine": item_rows.quarantine_groups(sources.report, facts, reviewed=review is not None),
        "review_groups": groups,
        "pairs": pair_rows.pair_rows(split, facts, sides) if split else None,
        "identical": review_rows.identical_pairs(groups),
        "warnings": item_rows.warning_groups(sources.report, facts),
    }


def _pictures(sources: DataSources, sections: dict[str, Any], facts: dict[str, Fact]) -> Pictures:
    if not sources.params.report.thumbnails:
        return None
    paths = [row.path for group in sections["quarantine"] for row in group.cards]
    paths += review_rows.review_paths(sections["review_groups"])
    pairs = sections["pairs"].shown if sections["pairs"] else []
    paths += [end.path for pair in pairs for end in (pair.first, pair.second)]
    paths += [row.path for group in sections["warnings"] for row in group.cards]
    return make_thumbnails(sources.root, item_rows.wanted_pictures(paths, facts), sources.params.validate_)


def _figures(sources: DataSources) -> dict[str, Any]:
    report = sources.report
    overlay = report.overlay
    broken = item_rows.broken_rules(report.rules)
    counts = data_charts.class_counts(report, sources.split)
    return {
        "broken": [rule for rule in broken if rule.critical],
        "cautions": [rule for rule in broken if not rule.critical],
        "counts": counts,
        "balance": data_charts.balance_chart(counts),
        "shapes": data_charts.shapes(sources.items, sources.params),
        "kinds": data_charts.kinds(sources.items),
        "overlay": overlay,
        "decided": overlay != OverlayReport(),
        "open_rows": OPEN_ROWS,
        "most_classes": MOST_CLASSES,
        "most_listed": MOST_LISTED,
        "most_copies": MOST_COPIES,
    }
