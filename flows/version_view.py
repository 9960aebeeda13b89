"""All that is known of a published version, put together from the registry, the store and the run's commit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flows.records import StageChange, VersionRecord
from flows.remote_registry import pushed_versions
from flows.stage_history import spans
from flows.store import stored_release
from flows.version_files import version_file, version_report
from flows.version_params import version_params, version_settings
from tasks.errors import StageInputError
from tasks.params import Params
from tasks.params.release import Precision
from tasks.release import MANIFEST
from tasks.reports.document import Record, Report
from tasks.reports.estimate import Estimate
from tasks.reports.evaluation import EvaluationReport
from tasks.reports.manifest import Manifest, SourceDigests
from tasks.reports.release_parts import Labels
from tasks.reports.verdict import Verdict
from tasks.workspace import Workspace


class Span(Record):
    """A time in production; `until` is null while it lasts. UTC, ISO 8601."""

    since: str
    until: str | None


class VersionView(Report):
    """`graft show --json`.

    Attributes:
        release: its folder in the store, from the workspace on where it lies inside; null where it is not there.
        missing: what could not be told and why: a release that is gone, a commit that is elsewhere.
        digests, verdict, labels: from the release, else from the run's commit; null where both are out of reach.
        params: that made the result, {"section.key": value}; null where the run's commit is not here.
        settings: its other params, such as paths; null likewise.
        precision: of the released model; null where its manifest cannot be read.
        not_int8: why it is fp32 where int8 was asked for.
        champion_version: what it was judged against; null: nothing was in production, or an unknown release was.
        reproducible_elsewhere: the run's commit and the data it names can be had on another machine.
        pushed: git's remote held it when it was last seen; null: there is no remote.
        promotions: every change that put it into production, forced ones marked.
    """

    version: int
    name: str
    manifest_sha256: str
    model_sha256: str
    release: str | None
    accuracy: Estimate
    macro_f1: Estimate
    test_items: int
    outcome: str
    promotable: bool
    champion: str | None
    champion_version: int | None
    data_digest: str
    params_sha256: str
    params: dict[str, Any] | None
    settings: dict[str, Any] | None
    digests: SourceDigests | None
    precision: Precision | None
    not_int8: list[str]
    labels: list[str] | None
    verdict: Verdict | None
    run_id: str
    branch: str | None
    commit: str | None
    graft_version: str
    reproducible_elsewhere: bool
    pushed: bool | None
    by: str
    why: str
    at: str
    in_production: list[Span]
    promotions: list[StageChange]
    missing: list[str]


def view_of(
    workspace: Workspace,
    params: Params,
    record: VersionRecord,
    known: list[VersionRecord],
    changes: list[StageChange],
) -> VersionView:
    """Everything about one version; what cannot be had is named in `missing`.

    Args:
        known: every version.
        changes: the history of production.
    """
    store = workspace.store(params.publish.store)
    folder = stored_release(store, record.manifest_sha256)
    missing = [] if folder.is_dir() else [f"its release is no longer in the store {workspace.relative(store)}"]
    manifest, labels = _contents(workspace.root, folder, record)
    if manifest is None:
        missing.append("its manifest cannot be read: verdict, digests and classes cannot be told")
    made_with = version_params(workspace.root, record)
    if made_with is None:
        missing.append(_no_params(workspace.root, record))
    pushed = pushed_versions(workspace.root, params.publish.git_remote)
    numbers = {one.manifest_sha256: one.version for one in known}
    shared = {name: getattr(record, name) for name in VersionRecord.model_fields if name in VersionView.model_fields}
    return VersionView(
        **shared,
        release=workspace.relative(folder) if folder.is_dir() else None,
        champion_version=numbers.get(record.champion or ""),
        params=made_with,
        settings=version_settings(workspace.root, record),
        digests=manifest.digests if manifest else None,
        precision=manifest.precision if manifest else None,
        not_int8=_not_int8(manifest),
        labels=labels,
        verdict=manifest.verdict if manifest else None,
        reproducible_elsewhere=not record.in_place and record.commit is not None,
        pushed=None if pushed is None else record.manifest_sha256 in pushed,
        in_production=[Span(since=since, until=until) for since, until in spans(changes, record.manifest_sha256)],
        promotions=[change for change in changes if change.manifest_sha256 == record.manifest_sha256],
        missing=missing,
    )


def _not_int8(manifest: Manifest | None) -> list[str]:
    asked = manifest.quantization if manifest else None
    return asked.reasons if asked and asked.requested == "int8" and asked.variant is None else []


def _contents(root: Path, folder: Path, record: VersionRecord) -> tuple[Manifest | None, list[str] | None]:
    """Manifest and labels, of the release or, where that is gone or damaged, of the run's commit."""
    try:
        return Manifest.read(folder / MANIFEST), Labels.read(folder / "labels.json").labels
    except StageInputError:
        evaluation = version_report(root, record, "evaluation.json", EvaluationReport)
        return version_report(root, record, MANIFEST, Manifest), evaluation.labels if evaluation else None


def _no_params(root: Path, record: VersionRecord) -> str:
    if record.commit is None:
        return "it has no commit: its params cannot be told"
    short = record.commit[:12]
    if version_file(root, record, "params.yaml") is not None:
        return f"params.yaml of its commit {short} cannot be read: its params cannot be told"
    return (
        f"its commit {short} is not in this repository: its params cannot be told; "
        f"`git fetch origin {record.branch or record.commit}` brings it"
    )
