"""`graft data forget`: takes items out of the data set, the caches and the reports, for good.

The tombstone comes first, then every place that holds the item, each step ready to be repeated. What is being forgotten
stands in .graft/forgetting.json until the last step is done: killed in between, the next call completes it first, and
so does the next `graft adapt`.
"""

from __future__ import annotations

import getpass
import json
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from flows.dvc_commands import dvc_remotes, ensure_dvc, run_dvc
from flows.dvc_repair import repair
from flows.erasure import DvcCache, dvc_file_of, forget_results, forget_site_cache, raw_traces
from flows.forget_plan import Content, Forgetting, Known, is_ours, near_duplicates_of, tables_of
from flows.forget_runs import check_no_run, forget_runs
from flows.forget_trainings import forget_trainings, learned_folders
from flows.git_user import git_user
from flows.inputs import split_memory_bytes
from flows.release_items import use_lines, uses_of
from flows.state import StateRef
from flows.table_rows import check_table, remove_rows
from flows.workspace_lock import check_free, workspace_lock
from tasks.errors import DataError, StageInputError, counted
from tasks.overlay import Forgotten, read_corrections, read_forgotten, write_corrections, write_forgotten
from tasks.params import Params, load_params
from tasks.reports import write_bytes
from tasks.workspace import Workspace

Step = Callable[[Workspace, Params, Forgetting], None]


def forget_here(
    workspace: Workspace,
    given: Sequence[str],
    reason: str,
    who: str | None,
    confirm: Callable[[str], bool],
    say: Callable[[str], None],
    dry_run: bool = False,
) -> bool:
    """Forget items, after completing what an interrupted call left.

    Args:
        given: paths of items or their sha256 (8 digits or more).
        confirm: shown what will happen; False ends it with nothing done.
    Returns:
        whether the items are forgotten now.
    Raises:
        DataError: no such item, no reason, or a table that cannot be read and may name an item.
        StageInputError: data/items.parquet or .graft/forgetting.json cannot be read.
        WorkspaceError: a run holds the workspace, or works in a worktree of it.
    """
    if not reason.strip():
        raise DataError("--reason is empty; say why (a person's request, a licence), it stands in data/forgotten.csv")
    caller = Path.cwd()
    check_no_run(workspace)
    if dry_run:
        check_free(workspace)
        _, summary = _plan(workspace, load_params(workspace.params), given, caller)
        say(f"{summary}\nnothing was done (--dry-run)")
        return False
    with workspace_lock(workspace, "forget") as mended:
        params = load_params(workspace.params)
        for line in [*ensure_dvc(workspace), *mended, *repair(workspace)]:
            say(line)
        interrupted = complete_forgetting(workspace, params, say)
        if interrupted and set(given) <= set(interrupted.given):
            return True
        contents, summary = _plan(workspace, params, given, caller)
        if not confirm(summary):
            return False
        forgetting = Forgetting(
            given=[*given],
            contents=contents,
            reason=reason,
            who=who or _person(workspace),
            date=f"{datetime.now(UTC):%Y-%m-%d}",
        )
        forgetting.write(workspace.forgetting)
        _carry_out(workspace, params, forgetting, say)
    return True


def _plan(workspace: Workspace, params: Params, given: Sequence[str], caller: Path) -> tuple[list[Content], str]:
    """What `given` means and what will happen to it; changes nothing."""
    contents = Known.of(workspace, params).find(given, caller)
    for table in tables_of(workspace, params):
        if is_ours(workspace, table):
            check_table(table, params.data.columns.path)
    return contents, describe(workspace, params, contents)


def describe(workspace: Workspace, params: Params, contents: Sequence[Content]) -> str:
    """What will be deleted, what is for others to delete, what looks alike, and which releases knew the items."""
    lines = [f"forget {counted(len(contents), 'item')}:"]
    for content in contents:
        lines += [f"  {content.sha256[:12]}  {', '.join(content.items) or '(no file of it is there)'}"]
    files = [Path(file) for content in contents for file in content.files]
    if ours := [workspace.relative(file) for file in files if is_ours(workspace, file)]:
        lines += ["deleted, with their copies in DVC's cache:", *(f"  {file}" for file in ours)]
    if theirs := [str(file) for file in files if not is_ours(workspace, file)]:
        lines += ["kept out from now on, but for their owner to delete:", *(f"  {file}" for file in theirs)]
    names = {item for content in contents for item in content.items}
    for table in tables_of(workspace, params):
        if not is_ours(workspace, table) and ours:
            lines.append(f"  their rows in {table}, which the next run would miss the files of")
    if alike := near_duplicates_of(workspace, names):
        lines += [
            "near-duplicates of them stay; forget these too if they show the same:",
            *(f"  {name}" for name in alike),
        ]
    lines.append("features, reports, splits and the trained model are removed; `graft adapt` makes them anew without")
    if any(folder.is_dir() for folder in learned_folders(workspace)):
        lines.append("so is the state of every training and search: it does not tell which items it was learned from")
    store = workspace.store(params.publish.store)
    uses = uses_of(StateRef(workspace.root), store, [content.sha256 for content in contents])
    return "\n".join([*lines, *use_lines(uses, workspace.relative(store))])


def complete_forgetting(workspace: Workspace, params: Params, say: Callable[[str], None]) -> Forgetting | None:
    """Finish what an interrupted call was agreed to forget; None where there is nothing. The caller holds the lock.

    Raises:
        StageInputError: .graft/forgetting.json cannot be read.
    """
    if not workspace.forgetting.is_file():
        return None
    try:
        interrupted = Forgetting.read(workspace.forgetting)
    except StageInputError as err:
        raise StageInputError(
            f"{err}; it names what was being forgotten when a command was interrupted: delete "
            f"{workspace.relative(workspace.forgetting)} and forget the same items again, by the newest sha256 in "
            "data/forgotten.csv if their names are gone"
        ) from err
    say(f"completing the forgetting of {counted(len(interrupted.contents), 'item')} that was interrupted")
    _carry_out(workspace, params, interrupted, say)
    return interrupted


def _carry_out(workspace: Workspace, params: Params, forgetting: Forgetting, say: Callable[[str], None]) -> None:
    for _, step in STEPS:
        step(workspace, params, forgetting)
    workspace.forgetting.unlink(missing_ok=True)
    say(f"forgot {counted(len(forgetting.contents), 'item')}; data/forgotten.csv keeps them out by their sha256")
    if remotes := dvc_remotes(workspace):
        objects = [f"files/md5/{one.md5[:2]}/{one.md5[2:]}" for one in forgetting.contents if one.md5]
        names = ", ".join(objects) or "their objects"
        say(f"a DVC remote may still hold them ({', '.join(remotes)}): delete {names} there")
    say("git's history and Prefect's own logs (PREFECT_HOME, or the server of PREFECT_API_URL) may still name them")
    say("pages of `graft data check --page`, and copies of reports, may still hold thumbnails of them: delete those")
    say("now: commit data/forgotten.csv and what else git shows as changed, and run `graft adapt`")


def _bury(workspace: Workspace, _: Params, forgetting: Forgetting) -> None:
    known = read_forgotten(workspace.forgotten)
    new = sorted(forgetting.sha256s - {row.sha256 for row in known})
    rows = [Forgotten(sha256, forgetting.reason, forgetting.who, forgetting.date) for sha256 in new]
    if rows:
        write_forgotten(workspace.forgotten, [*known, *rows])


def _drop_corrections(workspace: Workspace, _: Params, forgetting: Forgetting) -> None:
    rows = read_corrections(workspace.corrections)
    kept = [row for row in rows if row.sha256 not in forgetting.sha256s]
    if len(kept) < len(rows):
        write_corrections(workspace.corrections, kept)


def _delete_files(workspace: Workspace, params: Params, forgetting: Forgetting) -> None:
    """Files in the workspace, rows of a table there, and their copies in DVC's cache; never anything outside."""
    cache = DvcCache.of(workspace)
    files = [Path(file) for content in forgetting.contents for file in content.files]
    ours = [file for file in files if is_ours(workspace, file)]
    tables = [table for table in tables_of(workspace, params) if is_ours(workspace, table)]
    for file in ours:
        file.unlink(missing_ok=True)
        with suppress(OSError):
            file.parent.rmdir()
    for table in tables:
        remove_rows(table, params.data.columns.path, forgetting.items)
    tracked = {found for path in [*ours, *tables] if (found := dvc_file_of(workspace, path))}
    for found in sorted(tracked):
        if found.with_suffix("").exists():
            run_dvc(workspace, "add", "--quiet", workspace.relative(found.with_suffix("")))
        else:
            run_dvc(workspace, "remove", "--quiet", workspace.relative(found))  # its line in .gitignore too
    md5s = {content.md5 for content in forgetting.contents if content.md5}
    traces = raw_traces(cache, forgetting.sha256s, md5s, forgetting.items)
    cache.remove(traces.objects)
    cache.remove(traces.folders)


def _drop_features(workspace: Workspace, _: Params, forgetting: Forgetting) -> None:
    from tasks.backbones.feature_cache import forget_rows

    forget_rows(workspace.cache, forgetting.sha256s)


def _drop_trainings(workspace: Workspace, _: Params, forgetting: Forgetting) -> None:
    forget_trainings(workspace, forgetting.sha256s)


def _drop_runs(workspace: Workspace, _: Params, __: Forgetting) -> None:
    forget_runs(workspace)


def _drop_results(workspace: Workspace, params: Params, forgetting: Forgetting) -> None:
    forget_results(workspace, DvcCache.of(workspace))
    for page in (workspace.page, workspace.validation_page):
        page.unlink(missing_ok=True)
    if workspace.splits_lock.is_file():
        write_bytes(workspace.splits_lock, split_memory_bytes(workspace, params))
    names = {spelled for name in (*forgetting.items, *forgetting.sha256s) for spelled in _spellings(name)}
    told = [*workspace.reports.glob("outcome-*.json"), *(workspace.private / "runs").rglob("*")]
    for file in (path for path in told if path.is_file()):
        if any(name in file.read_text(encoding="utf-8", errors="replace") for name in names):
            file.unlink(missing_ok=True)
    forget_site_cache(workspace)


def _spellings(name: str) -> set[str]:
    """A name as messages show it, plain or quoted, and as JSON escapes its quotes, backslashes and letters beyond
    ASCII."""
    shown = (name, repr(name)[1:-1])
    return {*shown, *(json.dumps(one, ensure_ascii=ascii_only)[1:-1] for one in shown for ascii_only in (True, False))}


STEPS: tuple[tuple[str, Step], ...] = (
    ("tombstone", _bury),
    ("corrections", _drop_corrections),
    ("files", _delete_files),
    ("features", _drop_features),
    ("trainings", _drop_trainings),
    ("runs", _drop_runs),
    ("results", _drop_results),
)
"""In this order: from the tombstone on the item cannot come back, whatever happens to the rest."""


def _person(workspace: Workspace) -> str:
    """Who does this, as git knows them, or the account, which a container may have no name for."""
    with suppress(KeyError, OSError):
        return git_user(workspace.root) or getpass.getuser()
    return f"user {os.getuid()}"
