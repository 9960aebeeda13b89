"""Stage validate: lists the raw data, inspects every file, judges the table and writes down what may be used.

python -m tasks.validate
"""

from __future__ import annotations

import gc
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from tasks.digests import rows_sha256
from tasks.errors import ContractBroken, DataError
from tasks.expectations.conflicts import conflicting_reasons
from tasks.layouts import Listing, list_items
from tasks.modalities.images import Inspection, inspect_files
from tasks.params import Params, ValidateParams
from tasks.plots.validation_page import DataSources, render_validation_page, write_validation_page
from tasks.relabelling import NO_OVERLAY, Decided, Overlay, decide, read_overlay
from tasks.reports import FailingItem, RuleResult, ValidationReport, write_bytes
from tasks.stage import Progress, run_stage
from tasks.table_listing import Item
from tasks.tables import ITEMS, write_table
from tasks.workspace import Workspace


@dataclass(frozen=True)
class Examination:
    """The item table (schema ITEMS) and the report on it."""

    items: pa.Table
    report: ValidationReport


def validate(workspace: Workspace, params: Params) -> None:
    """Write the item table and the report, then stop the line if the data break a critical rule.

    Raises:
        DataError: the raw folder or table cannot be read as labelled images.
        ParamsError: the user's suite is broken.
        ContractBroken: a critical rule fails; one line for each. Both files, and the page that shows them, are written
            before.
    """
    table = workspace.resolve(params.data.table) if params.data.table else None
    data, overlay = params.data, workspace_overlay(workspace, params)
    listing = list_items(workspace.resolve(data.path), table, data.columns, overlay.aliases)
    if listing.layout == "flat":
        raise DataError(
            f"{listing.root} holds {len(listing.items)} images but no class folders; put each class into a folder of "
            "its name, or name a table of paths and labels (params.yaml: data.table)"
        )
    suite = workspace.resolve(params.validate_.suite) if params.validate_.suite else None
    threads = params.limits.of("validate").threads
    found = examine(listing, params.validate_, suite, labelled=True, overlay=overlay, threads=threads)
    write_table(found.items, workspace.items)
    found.report.write(workspace.validation)
    if not found.report.passed:
        write_validation_page(workspace, params, reviewed=False)
        page, place = (workspace.relative(path) for path in (workspace.validation_page, workspace.validation))
        raise ContractBroken("\n".join(f"{reason}. See {page}, or {place}" for reason in found.report.reasons))


def workspace_overlay(workspace: Workspace, params: Params) -> Overlay:
    """What people decided on top of this workspace's raw data.

    Raises:
        DataError: data/corrections.csv or data/forgotten.csv cannot be read.
    """
    return read_overlay(params.data.label_aliases, workspace.corrections, workspace.forgotten)


def check_data(
    path: Path,
    params: Params,
    suite: Path | None = None,
    labelled: bool | None = None,
    overlay: Overlay | None = None,
    page: Path | None = None,
) -> ValidationReport:
    """Judge a folder or table without writing anything but the page, where one is wanted.

    Args:
        overlay: what people decided on top of the data; by default only the params' aliases.
        page: the file to show the result in, as HTML.
        path: absolute; the params' data.path and data.table play no part, data.columns does.
        suite: the user's suite file.
        labelled: whether rules on labels apply; None means wherever the layout gives labels.
    Raises:
        DataError, ParamsError: as `validate`. A broken contract is in the report, not raised.
    """
    overlay = overlay or Overlay(params.data.label_aliases)
    listing = list_items(path, None, params.data.columns, overlay.aliases)
    by_layout = listing.layout != "flat"
    judged, threads = by_layout if labelled is None else labelled, params.limits.of("validate").threads
    found = examine(listing, params.validate_, suite, judged, overlay, threads)
    if page is not None:
        sources = DataSources(params, found.report, found.items, listing.root, rest="graft data check PATH --json")
        write_bytes(page, render_validation_page(sources).encode())
    return found.report


def examine(
    listing: Listing,
    rules: ValidateParams,
    suite: Path | None,
    labelled: bool,
    overlay: Overlay = NO_OVERLAY,
    threads: int = 0,
) -> Examination:
    """Inspect every listed file, take over what people decided, quarantine single items, and judge the whole.

    Args:
        threads: of decoding; 0 takes every core.
    Raises:
        DataError: people left out or forgot every item.
    """
    with _rules_being_loaded():
        inspections = _inspect(listing, rules, threads)
    decided = decide(listing.items, [found.sha256 for found in inspections], overlay)
    rows = _rows(listing.items, inspections, decided)
    contents = [row.found.sha256 if row.usable else None for row in rows]
    conflicting = conflicting_reasons([row.item for row in rows], contents) if labelled else [None] * len(rows)
    items = _item_table(rows, conflicting)
    in_the_set = pc.not_equal(items["status"], "left_out")
    if not pc.any(in_the_set).as_py():
        raise DataError(
            f"{listing.root}: every item was left out or forgotten by somebody (data/corrections.csv, "
            "data/forgotten.csv); add data, or delete corrections that do not hold"
        )

    from tasks.expectations.item_frame import item_frame
    from tasks.expectations.suite import judge

    frame = item_frame(items.filter(in_the_set), [row.usable for row in rows if not row.left_out])
    results = [*judge(frame, rules, labelled, suite), *decided.rules]
    return Examination(items, _report(listing, items, results, decided))


@contextmanager
def _rules_being_loaded() -> Iterator[None]:
    """Import Great Expectations, which takes seconds, in a thread beside the block; it is there when the block ends.

    An import gives the interpreter lock away only when it must, every 5 ms unless told otherwise, and Pillow wants it a
    dozen times an image: without a shorter interval the decoding would wait for the import.
    """
    interval = sys.getswitchinterval()
    sys.setswitchinterval(0.001)
    try:
        with ThreadPoolExecutor(1, "import") as loading:
            loading.submit(_load_rules)
            yield
    finally:
        sys.setswitchinterval(interval)


def _load_rules() -> None:
    collecting = gc.isenabled()
    gc.disable()  # A sixth of the import is the collector's walks over its new objects, none of which is garbage.
    try:
        import_module("tasks.expectations.suite")
    finally:
        if collecting:
            gc.enable()


def data_digest(items: pa.Table) -> str:
    """sha256 over the accepted items' sorted (path, content sha256, label, group, split, domain)."""
    columns = ["path", "sha256", "label", "group", "split", "domain"]
    accepted = items.filter(pc.equal(items["status"], "accepted")).select(columns).sort_by("path")
    return rows_sha256(tuple(row.values()) for row in accepted.to_pylist())


def _inspect(listing: Listing, rules: ValidateParams, threads: int) -> list[Inspection]:
    progress = Progress("validate", len(listing.items))
    inspections = []
    for found in inspect_files([listing.root / item.path for item in listing.items], rules, threads):
        inspections.append(found)
        progress.advance()
    return inspections


@dataclass(frozen=True)
class _Row:
    """An item as people decided it (label, or why it is left out) and what was found in its file."""

    item: Item
    found: Inspection
    left_out: str | None

    @property
    def usable(self) -> bool:
        return self.found.reason is None and self.left_out is None

    def status(self, conflict: str | None) -> tuple[str, str | None]:
        """(status, reason) of the item table; a person's word comes before what the file would say."""
        if self.left_out:
            return "left_out", self.left_out
        reason = self.found.reason or conflict
        return ("quarantined", reason) if reason else ("accepted", None)


def _rows(items: Sequence[Item], inspections: Sequence[Inspection], decided: Decided) -> list[_Row]:
    """Every item but the forgotten ones, under the label that counts."""
    every = zip(items, inspections, decided.labels, decided.left_out, decided.forgotten, strict=True)
    return [
        _Row(item if item.label == label else replace(item, label=label), found, left_out)
        for item, found, label, left_out, forgotten in every
        if not forgotten
    ]


def _item_table(rows: Sequence[_Row], conflicting: Sequence[str | None]) -> pa.Table:
    cells = []
    for row, conflict in zip(rows, conflicting, strict=True):
        status, reason = row.status(conflict)
        cells.append(
            {
                **vars(row.item),
                **vars(row.found),
                "bytes": row.found.file_bytes,
                "status": status,
                "reason": reason,
            }
        )
    return pa.Table.from_pylist(cells, schema=ITEMS)


def _report(listing: Listing, items: pa.Table, results: list[RuleResult], decided: Decided) -> ValidationReport:
    rows = items.select(["path", "label", "status", "reason"]).to_pylist()
    by_status: dict[str, list[dict[str, str]]] = {"accepted": [], "quarantined": [], "left_out": []}
    for row in rows:
        by_status[row["status"]].append(row)
    accepted = by_status["accepted"]
    quarantined = [FailingItem(path=row["path"], reason=row["reason"]) for row in by_status["quarantined"]]
    counts = Counter(row["label"] for row in accepted if row["label"] is not None)
    labels = sorted({row["label"] for row in [*accepted, *by_status["quarantined"]] if row["label"] is not None})
    return ValidationReport(
        passed=all(result.passed for result in results if result.severity == "critical"),
        data_digest=data_digest(items),
        layout=listing.layout,
        listed=len(rows),
        accepted=len(accepted),
        ignored=len(listing.ignored),
        ignored_files=listing.ignored,
        quarantined=quarantined,
        labels=sorted(counts),
        items_per_label={label: counts[label] for label in labels},
        rules=results,
        overlay=decided.report,
    )


if __name__ == "__main__":
    run_stage("validate", validate)
