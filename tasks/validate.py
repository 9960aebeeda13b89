"""Stage validate: lists the raw data, inspects every file, judges the table and writes down what may be used.

python -m tasks.validate
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
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
from tasks.reports import FailingItem, RuleResult, ValidationReport
from tasks.stage import Progress, run_stage
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
        ContractBroken: a critical rule fails; one line for each. Both files are written before.
    """
    table = workspace.resolve(params.data.table) if params.data.table else None
    listing = list_items(workspace.resolve(params.data.path), table, params.data.columns)
    if listing.layout == "flat":
        raise DataError(
            f"{listing.root} holds {len(listing.items)} images but no class folders; put each class into a folder of "
            "its name, or name a table of paths and labels (params.yaml: data.table)"
        )
    suite = workspace.resolve(params.validate_.suite) if params.validate_.suite else None
    found = examine(listing, params.validate_, suite, labelled=True)
    write_table(found.items, workspace.items)
    found.report.write(workspace.validation)
    if not found.report.passed:
        place = workspace.relative(workspace.validation)
        raise ContractBroken("\n".join(f"{reason}. See {place}" for reason in found.report.reasons))


def check_data(path: Path, params: Params, suite: Path | None = None, labelled: bool | None = None) -> ValidationReport:
    """Judge a folder or table without writing anything.

    Args:
        path: absolute; the params' data.path and data.table play no part, data.columns does.
        suite: the user's suite file.
        labelled: whether rules on labels apply; None means wherever the layout gives labels.
    Raises:
        DataError, ParamsError: as `validate`. A broken contract is in the report, not raised.
    """
    listing = list_items(path, None, params.data.columns)
    by_layout = listing.layout != "flat"
    return examine(listing, params.validate_, suite, by_layout if labelled is None else labelled).report


def examine(listing: Listing, rules: ValidateParams, suite: Path | None, labelled: bool) -> Examination:
    """Inspect every listed file, quarantine single items, and judge the whole."""
    with ThreadPoolExecutor(1, "import") as loading:
        # Great Expectations takes seconds to import; Pillow decodes meanwhile, outside the interpreter lock.
        loading.submit(import_module, "tasks.expectations.suite")
        inspections = _inspect(listing, rules)
    contents = [None if found.reason else found.sha256 for found in inspections]
    conflicting = conflicting_reasons(listing.items, contents) if labelled else [None] * len(contents)
    reasons = [found.reason or conflict for found, conflict in zip(inspections, conflicting, strict=True)]
    items = _item_table(listing, inspections, reasons)

    from tasks.expectations.item_frame import item_frame
    from tasks.expectations.suite import judge

    frame = item_frame(items, [found.reason is None for found in inspections])
    return Examination(items, _report(listing, items, judge(frame, rules, labelled, suite)))


def data_digest(items: pa.Table) -> str:
    """sha256 over the accepted items' sorted (path, content sha256, label, group, split, domain)."""
    columns = ["path", "sha256", "label", "group", "split", "domain"]
    accepted = items.filter(pc.equal(items["status"], "accepted")).select(columns).sort_by("path")
    return rows_sha256(tuple(row.values()) for row in accepted.to_pylist())


def _inspect(listing: Listing, rules: ValidateParams) -> list[Inspection]:
    progress = Progress("validate", len(listing.items))
    inspections = []
    for found in inspect_files([listing.root / item.path for item in listing.items], rules):
        inspections.append(found)
        progress.advance()
    return inspections


def _item_table(listing: Listing, inspections: Sequence[Inspection], reasons: Sequence[str | None]) -> pa.Table:
    rows = [
        {
            **vars(item),
            **vars(found),
            "bytes": found.file_bytes,
            "status": "quarantined" if reason else "accepted",
            "reason": reason,
        }
        for item, found, reason in zip(listing.items, inspections, reasons, strict=True)
    ]
    return pa.Table.from_pylist(rows, schema=ITEMS)


def _report(listing: Listing, items: pa.Table, results: list[RuleResult]) -> ValidationReport:
    rows = items.select(["path", "label", "status", "reason"]).to_pylist()
    accepted = [row for row in rows if row["status"] == "accepted"]
    quarantined = [FailingItem(path=row["path"], reason=row["reason"]) for row in rows if row["status"] != "accepted"]
    counts = Counter(row["label"] for row in accepted if row["label"] is not None)
    labels = sorted({row["label"] for row in rows if row["label"] is not None})
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
    )


if __name__ == "__main__":
    run_stage("validate", validate)
