"""`graft data fix`: what a person filled into a review list becomes rows of data/corrections.csv; raw data stay."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from flows.git_user import git_user
from flows.label_wishes import KEEP, Fault, Standing, Wish, contradicting, fault_lines, fault_of, wishes_of
from flows.workspace_lock import workspace_lock
from tasks.errors import DataError, counted
from tasks.overlay import Correction, read_corrections, write_corrections
from tasks.params import Params, load_params
from tasks.relabelling import Overlay, decide
from tasks.review_sheet import FilledRow, read_sheet
from tasks.stage import say
from tasks.table_listing import Item
from tasks.tables import ITEMS, SPLITS, read_table
from tasks.workspace import Workspace

KEPT = "looked at; the label is right"
SHOWN = 20
FILL_IN = "corrected_label, or keep or leave_out in action, with who and why; then save the sheet"


@dataclass(frozen=True)
class FixOptions:
    """What the command line says: for rows without a who or a why, and which labels may be new."""

    who: str | None = None
    why: str | None = None
    new_classes: Sequence[str] = ()
    dry_run: bool = False


def fix_here(workspace: Workspace, sheet: Path, options: FixOptions) -> str:
    """Append a filled-in review list to data/corrections.csv; the same list twice changes nothing.

    Returns:
        what was done, for a person.
    Raises:
        DataError: the list or a file of the workspace cannot be read, or rows are wrong: all are named at once, and
            nothing is written.
        StageInputError: the data were never validated here.
    """
    with workspace_lock(workspace, "data-fix") as mended:
        for line in mended:
            say(line)
        params, rows = load_params(workspace.params), read_sheet(sheet)
        known, corrections = _known(workspace, params), read_corrections(workspace.corrections)
        filled = [row for row in rows if row.action or row.corrected_label]
        signed, faults = _signed(workspace, filled, options)
        wishes, more = wishes_of(signed, known, params, options.new_classes)
        faults = sorted({*faults, *more, *contradicting(wishes)})
        if faults:
            raise DataError(_refusal(sheet, faults))
        new = _new_corrections(wishes, known, {one.sha256 for one in corrections})
        if new and not options.dry_run:
            write_corrections(workspace.corrections, [*corrections, *new])
        return _summary(workspace, known, new, len(rows) - len(filled), len(wishes), options.dry_run)


def _known(workspace: Workspace, params: Params) -> dict[str, list[Standing]]:
    """Every content of the last validated data, with the items that hold it."""
    items = read_table(workspace.items, ITEMS).select(["path", "label", "sha256"]).to_pydict()
    overlay = Overlay(params.data.label_aliases, read_corrections(workspace.corrections))
    listed = [Item(path, label) for path, label in zip(items["path"], items["label"], strict=True)]
    decided = decide(listed, items["sha256"], overlay)
    known = defaultdict(list)
    for place, content in enumerate(items["sha256"]):
        label = None if decided.left_out[place] else decided.labels[place]
        known[content].append(Standing(listed[place].path, label))
    return known


def _signed(
    workspace: Workspace, rows: Sequence[FilledRow], options: FixOptions
) -> tuple[list[FilledRow], list[Fault]]:
    """Rows with a who and a why, from the row or else from the command line (who: or else from git)."""
    author = options.who or (git_user(workspace.root) if any(not row.who for row in rows) else None)
    signed, faults = [], []
    for row in rows:
        keeps = row.action.lower() == KEEP or row.corrected_label == row.label
        row = replace(row, who=row.who or author or "", why=row.why or options.why or (KEPT if keeps else ""))
        if not row.who:
            faults.append(fault_of(row, "no who: fill the column in, give --who, or set git's user.name"))
        if not row.why:
            faults.append(fault_of(row, "no why: fill the column in, or give --why for all rows without one"))
        signed.append(row)
    return signed, faults


def _new_corrections(
    wishes: Sequence[Wish], known: Mapping[str, list[Standing]], spoken_of: set[str]
) -> list[Correction]:
    """What is not yet so: one correction for each label that the content still bears, or the word that it is right."""
    today = datetime.now(UTC).date().isoformat()
    new: dict[tuple[str, str], Correction] = {}
    for wish in wishes:
        content = wish.row.sha256.lower()
        bears = {item.label for item in known[content]}
        changes = sorted(label or "" for label in bears if label != wish.label)
        if not changes and content not in spoken_of:
            changes = [wish.label or ""]
        for was in changes:
            correction = Correction(
                sha256=content,
                path=wish.row.path,
                was=was,
                label=wish.label,
                who=wish.row.who,
                why=wish.row.why,
                date=today,
            )
            new.setdefault((content, was), correction)
    return list(new.values())


def _refusal(sheet: Path, faults: Sequence[Fault]) -> str:
    lines = [f"  {line}" for line in fault_lines(faults)]
    more = [f"  and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    lines = lines[:SHOWN]
    return "\n".join([f"{sheet}: {counted(len(faults), 'fault')}; nothing was written", *lines, *more])


def _summary(
    workspace: Workspace,
    known: Mapping[str, list[Standing]],
    new: Sequence[Correction],
    empty: int,
    filled: int,
    dry_run: bool,
) -> str:
    kinds = Counter(_kind(one) for one in new)
    lines = [f"{counted(filled, 'row')} filled in, {counted(empty, 'row')} left empty"]
    lines += [f"  {kind}: {count}" for kind, count in sorted(kinds.items())]
    if not filled:
        return "\n".join([*lines, f"nothing to do: no row is filled in ({FILL_IN})"])
    if not new:
        return "\n".join([*lines, "nothing to do: data/corrections.csv says all this already"])
    changed = {one.sha256 for one in new if one.was != one.label}
    tested = _test_items(workspace, {item.path for content in changed for item in known[content]})
    if tested:
        lines.append(
            f"  {counted(tested, 'test item')} among them: the test set changes, so the next figures do not compare "
            "with those of earlier releases"
        )
    if dry_run:
        return "\n".join([*lines, "nothing was written (--dry-run)"])
    done = f"{counted(len(new), 'correction')} added to data/corrections.csv; the raw files stay as they are"
    return "\n".join([*lines, done, "run `graft adapt` to use them, and commit data/corrections.csv"])


def _kind(correction: Correction) -> str:
    if correction.label is None:
        return "left out"
    if correction.was == correction.label:
        return "confirmed"
    return f"{correction.was or 'left out'} -> {correction.label}"


def _test_items(workspace: Workspace, paths: set[str]) -> int:
    """How many of these items stand in the test set of the last run; 0 before the first."""
    if not workspace.splits.exists():
        return 0
    splits = read_table(workspace.splits, SPLITS)
    tested = splits.filter(pc.equal(splits["side"], "test"))
    return int(pc.sum(pc.is_in(tested["path"], pa.array(sorted(paths), pa.string()))).as_py() or 0)
