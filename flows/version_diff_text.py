"""What differs between two published versions as text of at most 100 columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flows.text_lines import KEY_WIDTH, hanging, keyed
from flows.version_diff import Changed, ItemChange, VersionDiff
from flows.versions import version_name


def diff_text(diff: VersionDiff) -> str:
    """What differs, old -> new; equal things are told in a word."""
    old, new = version_name(diff.old), version_name(diff.new)
    lines = [f"{old} -> {new}"]
    for name, metric in diff.metrics.items():
        text = f"{metric.old.value:.4f} -> {metric.new.value:.4f}  ({metric.difference:+.4f}{_on_others(diff)})"
        lines += keyed(name.replace("macro_f1", "macro-F1"), text)
    lines += keyed("data", _either(diff.data_digest, "the same"))
    if diff.items:
        lines += keyed("items", _items(diff.items))
    lines += _changed("params", diff.params)
    if diff.settings:
        lines += _changed("settings", diff.settings)
        lines += hanging(
            " " * KEY_WIDTH, "(settings do not make the result by themselves; the digest of the data does)"
        )
    lines += _changed("sources", diff.digests)
    lines += keyed("graft", _either(diff.graft_version, "the same version"))
    if diff.classes_added is not None and diff.classes_removed is not None:
        marked = [f"+{label}" for label in diff.classes_added] + [f"-{label}" for label in diff.classes_removed]
        lines += keyed("classes", ", ".join(marked) or "the same")
    if not diff.same_champion:
        lines += keyed("verdicts", "made against different champions")
    return "\n".join([*lines, *(line for fault in diff.missing for line in hanging("note: ", fault))])


def _either(change: Changed | None, same: str) -> str:
    return f"{_short(change.old)} -> {_short(change.new)}" if change else same


def _on_others(diff: VersionDiff) -> str:
    """A difference of two test sets is none between models."""
    return ", on other test items" if diff.items and (diff.items.test_added or diff.items.test_removed) else ""


def _short(value: Any) -> str:
    text = "not there" if value is None else str(value)
    return text[:12] if len(text) == 64 and " " not in text else text


def _items(items: ItemChange) -> str:
    parts = [f"{items.old} -> {items.new}: {items.added} added, {items.removed} removed"]
    if items.moved:
        parts.append(f"{items.moved} on another side of the split")
    test = f"test items: {items.test_added} added, {items.test_removed} removed"
    return "; ".join([*parts, test if items.test_added or items.test_removed else "the same test items"])


def _changed(title: str, changes: Mapping[str, Changed] | None) -> list[str]:
    if changes is None:
        return keyed(title, "cannot be told")
    if not changes:
        return keyed(title, "the same")
    rows = [f"{name}: {_either(change, '')}" for name, change in changes.items()]
    return [line for number, row in enumerate(rows) for line in keyed("" if number else title, row)]
