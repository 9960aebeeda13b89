"""What a person asks for in a filled-in review list, and whether it can be: each row against the data as they stand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tasks.errors import did_you_mean
from tasks.params import Params
from tasks.review_sheet import FilledRow

RELABEL, KEEP, LEAVE_OUT = "relabel", "keep", "leave_out"
ACTIONS = (RELABEL, KEEP, LEAVE_OUT)
NAMED_ROWS = 3

MEANT = {**dict.fromkeys(("delete", "remove", "drop", "exclude", "discard"), LEAVE_OUT), "ok": KEEP, "right": KEEP}
"""Words that people write for an action; each is told the name and none is taken for it."""

Fault = tuple[int, str, str]
"""A row's number, its path, and what is wrong with it."""


@dataclass(frozen=True)
class Wish:
    """A row's decision on its content: the label to bear, or None to leave it out; `row` holds who and why."""

    row: FilledRow
    label: str | None


@dataclass(frozen=True)
class Standing:
    """An item as it stands with every correction so far; `label` is None for one that is left out."""

    path: str
    label: str | None


def wishes_of(
    rows: Sequence[FilledRow], known: Mapping[str, list[Standing]], params: Params, new_classes: Sequence[str]
) -> tuple[list[Wish], list[Fault]]:
    """What the rows ask for, and every row that asks for what cannot be.

    Of one content under two labels, `keep` on one row and `leave_out` on the other say together which label is right.

    Args:
        known: every content of the data with the items that hold it.
        new_classes: labels that no item bears yet and that are allowed all the same.
    """
    labels = _allowed(known, params, new_classes)
    wishes, faults = [], []
    asked = [(row, *_wanted(row, params.data.label_aliases)) for row in rows]
    kept = {row.sha256.lower(): wanted for row, wanted, fault in asked if not fault and wanted == row.label}
    for row, wanted, fault in asked:
        if wanted is None and not fault and kept.get(row.sha256.lower(), row.label) != row.label:
            wanted = kept[row.sha256.lower()]
        fault = fault or _unknown(wanted, labels, params) or _stale(row, wanted, known)
        if fault:
            faults.append(fault_of(row, fault))
        else:
            wishes.append(Wish(row, wanted))
    return wishes, faults


def _allowed(known: Mapping[str, list[Standing]], params: Params, new_classes: Sequence[str]) -> set[str]:
    if params.validate_.labels:
        return set(params.validate_.labels)
    return {item.label for items in known.values() for item in items if item.label is not None} | set(new_classes)


def _wanted(row: FilledRow, aliases: Mapping[str, str]) -> tuple[str | None, str | None]:
    """The label that a row asks for (None: leave out), and what is wrong with how it asks."""
    action = row.action.lower().replace(" ", "_").replace("-", "_")
    label = aliases.get(row.corrected_label, row.corrected_label)
    if action and action not in ACTIONS:
        return None, f"unknown action {row.action!r}{did_you_mean(MEANT.get(action, action), ACTIONS)}"
    if action == RELABEL and not label:
        return None, "the action is relabel, but corrected_label is empty"
    if action == LEAVE_OUT and label:
        return None, f"the action is leave_out, but corrected_label is {label!r}; empty one of the two"
    if action == KEEP and label not in ("", row.label):
        return None, f"the action is keep, but corrected_label is {label!r}; empty one of the two"
    return (None if action == LEAVE_OUT else label or row.label), None


def _unknown(wanted: str | None, labels: set[str], params: Params) -> str | None:
    if wanted is None or wanted in labels:
        return None
    if params.validate_.labels:
        return f"label {wanted!r} is not in validate.labels (params.yaml){did_you_mean(wanted, labels)}"
    return f"unknown label {wanted!r}{did_you_mean(wanted, labels)}; --new-class {wanted!r} if it is a new one"


def _stale(row: FilledRow, wanted: str | None, known: Mapping[str, list[Standing]]) -> str | None:
    """Why the row speaks of something else than what stands there; None if it does not, or if its wish is met."""
    items = known.get(row.sha256.lower())
    if not items:
        return (
            f"no item has its sha256 ({row.sha256[:12]}...): the file changed or is gone; run `graft adapt`, then fill "
            "in the new reports/review.csv"
        )
    if all(item.label == wanted for item in items) or any(item.label == row.label for item in items):
        return None
    stands = next((item for item in items if item.path == row.path), items[0]).label
    now = "is left out" if stands is None else f"is labelled {stands!r}"
    return (
        f"the list says {row.label!r}, but the item {now} by now (or a spreadsheet rewrote the cell); to take back a "
        "correction, delete its row in data/corrections.csv; else decide in the reports/review.csv of the last run"
    )


def contradicting(wishes: Sequence[Wish]) -> list[Fault]:
    """Rows that want two things of one content."""
    first: dict[str, Wish] = {}
    faults = []
    for wish in wishes:
        earlier = first.setdefault(wish.row.sha256.lower(), wish)
        if earlier.label != wish.label:
            faults.append(
                fault_of(
                    wish.row,
                    f"wants {_named(wish.label)}, row {earlier.row.number} wants {_named(earlier.label)} for the same "
                    "content; a decision holds for the content, so fill in one of its rows and leave the others empty",
                )
            )
    return faults


def _named(label: str | None) -> str:
    return "it left out" if label is None else repr(label)


def fault_of(row: FilledRow, text: str) -> Fault:
    """A fault of this row."""
    return row.number, row.path, text


def fault_lines(faults: Sequence[Fault]) -> list[str]:
    """A line for each thing that is wrong, with the rows that it is wrong with."""
    alike: dict[str, list[Fault]] = {}
    for fault in faults:
        alike.setdefault(fault[2], []).append(fault)
    return [f"{_rows(same)}: {text}" for text, same in alike.items()]


def _rows(faults: Sequence[Fault]) -> str:
    if len(faults) == 1:
        number, path, _ = faults[0]
        return f"row {number} ({path})"
    named = [str(number) for number, _, _ in faults]
    if len(named) > NAMED_ROWS + 1:
        named[NAMED_ROWS:] = [f"{len(named) - NAMED_ROWS} more"]
    return f"rows {', '.join(named[:-1])} and {named[-1]}"
