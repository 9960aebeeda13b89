"""`graft data check` and `graft data add`."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from flows.dvc_commands import ensure_dvc, run_dvc
from flows.params_file import Edit, edit_params, edited_params
from flows.table_rows import check_table, remove_rows
from flows.workspace_lock import workspace_lock
from tasks.digests import file_sha256
from tasks.errors import DataError, WorkspaceError, counted
from tasks.params import Params, load_params
from tasks.reports import FailingItem, OverlayReport, ValidationReport, replacing
from tasks.stage import say
from tasks.table_listing import TABLE_SUFFIXES
from tasks.tree import check_tree
from tasks.validate import check_data, workspace_overlay
from tasks.workspace import Workspace

SHOWN = 20


def check_here(
    path: Path, edits_for: Callable[[Workspace], Sequence[Edit]] = lambda _: (), page: Path | None = None
) -> ValidationReport:
    """Validate `path` as the workspace one stands in would take it, or by the defaults outside of one.

    The workspace's params, aliases, corrections and tombstones all apply: the answer is the one that a run would give.

    Args:
        edits_for: gives the changes of --set, which are tried and not kept.
        page: the file to show the result in, as HTML.
    Raises:
        DataError: nothing there can be read as a data set, or the tree holds what a reader would hang on.
        ParamsError: a wrong key or value.
    """
    if page is not None and page.is_dir():
        raise DataError(f"--page {page} is a folder; name the file to write, such as {page / 'data.html'}")
    try:
        workspace = Workspace.find()
    except WorkspaceError:
        if edits_for(Workspace(Path.cwd())):
            raise
        return check_data(path.absolute(), Params(), page=page)
    params = edited_params(workspace, edits_for(workspace)).params
    suite = workspace.resolve(params.validate_.suite) if params.validate_.suite else None
    return check_data(path.absolute(), params, suite, overlay=workspace_overlay(workspace, params), page=page)


def check_summary(report: ValidationReport) -> str:
    """The report for a person: counts, then every broken rule and quarantined item (the first of many)."""
    lines = [
        f"{report.listed} items, {report.accepted} accepted, {len(report.quarantined)} quarantined, "
        f"{report.ignored} other files ignored; layout: {report.layout}",
        *overlay_lines(report.overlay),
    ]
    lines += [f"  {label or '(no label)'}: {count}" for label, count in report.items_per_label.items()]
    set_aside = {item.path for item in report.quarantined}
    if report.quarantined:
        lines += ["quarantined:", *_named(report.quarantined)]
    for rule in report.rules:
        if not rule.passed:
            lines += [
                f"{rule.severity}: {rule.rule}: {rule.detail}",
                *_named([item for item in rule.failing if item.path not in set_aside]),
            ]
    lines.append("passed" if report.passed else "refused")
    return "\n".join(lines)


def overlay_lines(overlay: OverlayReport) -> list[str]:
    """What people decided on top of the data, a line for each kind that met them."""
    changed = [one for one in overlay.corrected if one.label is not None]
    lines = [f"  class {used.old!r} counts as {used.new!r} ({counted(used.items, 'item')})" for used in overlay.aliased]
    if changed:
        who = ", ".join(sorted({one.who for one in changed}))
        lines.append(f"  {counted(sum(one.items for one in changed), 'label')} corrected by {who}")
    if overlay.left_out:
        lines += ["left out by people:", *_named(overlay.left_out)]
    if overlay.forgotten:
        lines.append(f"  {counted(overlay.forgotten, 'item')} kept out, forgotten before (data/forgotten.csv)")
    return lines


def _named(items: Sequence[FailingItem]) -> list[str]:
    more = [f"    and {len(items) - SHOWN} more (--json names every one)"] if len(items) > SHOWN else []
    return [f"    {item.path}: {item.reason}" for item in items[:SHOWN]] + more


def add_here(workspace: Workspace, source: Path) -> str:
    """Copy what is new below `source` to data/raw, put it under DVC and point data.path there.

    Returns:
        what was done, for a person.
    Raises:
        DataError: no folder, a broken tree, or a file that is there already with other content.
    """
    folder = source.absolute()
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder; give the folder that holds the class folders (or the table's folder)")
    params = load_params(workspace.params)
    overlay = workspace_overlay(workspace, params)
    found = check_data(folder, params, overlay=overlay)
    if workspace.raw.exists():
        check_tree(workspace.raw)
    with workspace_lock(workspace, "data-add") as mended, tempfile.TemporaryDirectory() as scratch:
        for line in mended:
            say(line)
        ensure_dvc(workspace)
        sources, skipped = _sources(folder, overlay.forgotten, params.data.columns.path, Path(scratch))
        new = _new_files(sources, workspace.raw)
        for name in new:
            with replacing(workspace.raw / name) as draft:
                shutil.copyfile(sources[name], draft)
        run_dvc(workspace, "add", "--quiet", workspace.relative(workspace.raw))
        edits = [Edit(("data", "path"), workspace.relative(workspace.raw))]
        table = params.data.table
        if table and not workspace.resolve(table).is_relative_to(workspace.raw):
            edits.append(Edit(("data", "table"), None))
        edit_params(workspace, edits)
    bad = len(found.quarantined)
    note = f"; {bad} images of {folder} cannot be used, `graft data check data/raw` names them" if bad else ""
    if skipped:
        digests = ", ".join(sorted({sha256[:12] for sha256 in skipped.values()}))
        note += f"; {counted(len(skipped), 'file')} left out, forgotten before (data/forgotten.csv: {digests})"
    return f"{len(new)} new files in data/raw, under DVC as data/raw.dvc; params.yaml: data.path is data/raw{note}"


def _sources(
    folder: Path, forgotten: Collection[str], column: str, scratch: Path
) -> tuple[dict[str, Path], dict[str, str]]:
    """Files to add by their name below `folder`, and the sha256 of those that were forgotten and stay out.

    A table that lists forgotten files is taken from `scratch`, where it is copied without their rows.
    """
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    digests = {name: file_sha256(path) for name, path in files.items()} if forgotten else {}
    skipped = {name: sha256 for name, sha256 in digests.items() if sha256 in forgotten}
    sources = {name: path for name, path in files.items() if name not in skipped}
    for name in [name for name in sources if skipped and Path(name).suffix.lower() in TABLE_SUFFIXES]:
        check_table(sources[name], column)
        copy, beside = scratch / name, folder / Path(name).parent
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(sources[name], copy)
        near = [files[one].relative_to(beside).as_posix() for one in skipped if files[one].is_relative_to(beside)]
        if remove_rows(copy, column, {*skipped, *near}):
            sources[name] = copy
    return sources, skipped


def _new_files(sources: Mapping[str, Path], raw: Path) -> list[str]:
    present = [name for name in sources if (raw / name).exists()]
    changed = [name for name in present if file_sha256(sources[name]) != file_sha256(raw / name)]
    if changed:
        raise DataError(
            f"{len(changed)} files are in data/raw already with other content ({', '.join(changed[:5])}); "
            "raw data are never overwritten: give the new ones another name, or delete the old ones from data/raw"
        )
    return sorted(sources.keys() - set(present))
