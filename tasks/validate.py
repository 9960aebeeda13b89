"""Stage validate: lists the raw data, inspects every file, judges the table and writes down what may be used.

python -m tasks.validate
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from tasks.errors import ContractBroken, DataError
from tasks.item_table import data_digest, found_columns, item_table
from tasks.layouts import Listing, list_items, refuse_flat
from tasks.modalities.images import Inspection, inspect_files
from tasks.params import Params, ValidateParams
from tasks.plots.validation_page import DataSources, render_validation_page, write_validation_page
from tasks.relabelling import NO_OVERLAY, Decided, Overlay, decide, read_overlay
from tasks.reports import FailingItem, RuleResult, ValidationReport, write_bytes
from tasks.stage import Progress, run_stage, without_collector
from tasks.tables import write_table
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
    refuse_flat(listing)
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
        found = found_columns(_inspect(listing, rules, threads))
    contents = found["sha256"].to_pylist() if overlay.corrections or overlay.forgotten else [None] * found.num_rows
    decided = decide(listing.items, contents, overlay)
    del contents
    items, usable = item_table(listing.items, found, decided, labelled)
    del found
    in_the_set = pc.not_equal(items["status"], "left_out")
    if not pc.any(in_the_set).as_py():
        raise DataError(
            f"{listing.root}: every item was left out or forgotten by somebody (data/corrections.csv, "
            "data/forgotten.csv); add data, or delete corrections that do not hold"
        )

    from tasks.expectations.item_frame import item_frame
    from tasks.expectations.suite import judge

    judged = (items, usable) if pc.all(in_the_set).as_py() else (items.filter(in_the_set), usable.filter(in_the_set))
    frame = item_frame(*judged)
    del judged
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
    with without_collector():
        import_module("tasks.expectations.suite")


def _inspect(listing: Listing, rules: ValidateParams, threads: int) -> Iterator[Inspection]:
    progress = Progress("validate", len(listing.items))
    for found in inspect_files((listing.root / item.path for item in listing.items), rules, threads):
        yield found
        progress.advance()


def _report(listing: Listing, items: pa.Table, results: list[RuleResult], decided: Decided) -> ValidationReport:
    accepted = pc.equal(items["status"], "accepted")
    found = items["label"].filter(accepted).drop_null().value_counts().to_pylist()
    counts = {row["values"]: row["counts"] for row in found}
    quarantined = items.select(["path", "label", "reason"]).filter(pc.equal(items["status"], "quarantined")).to_pylist()
    labels = sorted(counts.keys() | {row["label"] for row in quarantined if row["label"] is not None})
    return ValidationReport(
        passed=all(result.passed for result in results if result.severity == "critical"),
        data_digest=data_digest(items),
        layout=listing.layout,
        listed=items.num_rows,
        accepted=pc.sum(accepted).as_py(),
        ignored=len(listing.ignored),
        ignored_files=listing.ignored,
        quarantined=[FailingItem(path=row["path"], reason=row["reason"]) for row in quarantined],
        labels=sorted(counts),
        items_per_label={label: counts.get(label, 0) for label in labels},
        rules=results,
        overlay=decided.report,
    )


if __name__ == "__main__":
    run_stage("validate", validate)
