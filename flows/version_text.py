"""A published version as text of at most 100 columns."""

from __future__ import annotations

from collections.abc import Sequence

from flows.text_lines import KEY_WIDTH, hanging, keyed, time_text
from flows.version_params import result_params
from flows.version_view import VersionView
from flows.versions import version_name
from tasks.errors import counted
from tasks.params import DataParams, Params
from tasks.reports.estimate import Estimate


def show_text(view: VersionView) -> str:
    """All of a version but what its params have in common with the defaults."""
    lines = [f"{version_name(view.version)}  {view.name}@v{view.version}.0.0", *keyed("production", _production(view))]
    # Unbroken, to be copied.
    lines += [f"{'release'.ljust(KEY_WIDTH)}{view.release or view.manifest_sha256 + ' (not in the store)'}"]
    lines += keyed("accuracy", f"{_estimate(view, view.accuracy)}, {counted(view.test_items, 'test item')}")
    lines += keyed("macro-F1", _estimate(view, view.macro_f1))
    if view.precision == "int8" or view.not_int8:
        lines += keyed("precision", str(view.precision) + (" (int8 was asked for)" if view.not_int8 else ""))
        for reason in view.not_int8:
            lines += hanging(" " * KEY_WIDTH + "- ", reason)
    lines += keyed("verdict", _verdict(view))
    for reason in _reasons(view):
        lines += hanging(" " * KEY_WIDTH + "- ", reason)
    lines += keyed("data", view.data_digest)
    lines += keyed("elsewhere", _elsewhere(view))
    lines += keyed("commit", f"{view.commit} ({view.branch})" if view.commit else "none")
    lines += keyed(
        "code", f"Graft {view.graft_version}" + (f", digest {view.digests.code[:12]}" if view.digests else "")
    )
    lines += keyed("published", f"{time_text(view.at)} by {view.by}: {view.why}")
    lines += keyed("run", view.run_id)
    if view.pushed is not None:
        lines += keyed("remote", "pushed" if view.pushed else "not pushed yet (`graft push`)")
    if view.labels is not None:
        lines += keyed("classes", f"{len(view.labels)}: {', '.join(view.labels)}")
    lines += _params(view)
    return "\n".join([*lines, *(line for fault in view.missing for line in hanging("note: ", fault))])


def _production(view: VersionView) -> str:
    if not view.in_production:
        return "never"
    spans = [
        f"{time_text(span.since)} to {time_text(span.until) if span.until else 'now'}" for span in view.in_production
    ]
    forced = [change for change in view.promotions if change.forced]
    by_force = [f"by force ({change.actor}, {time_text(change.at)}: {change.reason})" for change in forced]
    return "; ".join(spans + by_force)


def _estimate(view: VersionView, estimate: Estimate) -> str:
    """With the level of its interval, which stands in the params of the version's run."""
    level = (view.params or {}).get("evaluate.confidence")
    name = f"{100 * level:.4g}% CI" if isinstance(level, float) else "interval of a level not known here,"
    return f"{estimate.value:.4f}  ({name} {estimate.low:.4f} to {estimate.high:.4f})"


def _verdict(view: VersionView) -> str:
    if view.champion is None:
        against = "; nothing was in production"
    elif view.champion_version is None:
        against = f" against release {view.champion[:12]}"
    else:
        against = f" against {version_name(view.champion_version)}"
    return f"{view.outcome}{against}; {'promotable' if view.promotable else 'not promotable'}"


def _reasons(view: VersionView) -> Sequence[str]:
    if view.verdict is None:
        return []
    champion = view.verdict.champion.reasons if view.verdict.champion else []
    return [*champion, *(rule.reason for rule in view.verdict.rules)]


def _elsewhere(view: VersionView) -> str:
    if not view.reproducible_elsewhere:
        why = "it has no commit" if view.commit is None else "the data were read in place"
        return f"not reproducible: {why}"
    if (view.settings or {}).get("data.path") == DataParams().path:
        return "reproducible: `graft adapt` writes the embedded sample"
    return "reproducible: the data are under DVC or in git"


def _params(view: VersionView) -> list[str]:
    if view.params is None:
        return []
    usual = result_params(Params())
    told = {name: value for name, value in view.params.items() if name not in usual or usual[name] != value}
    lines = [f"{'params'.ljust(KEY_WIDTH)}{'as Graft has them by default' if not told else 'other than by default:'}"]
    return lines + [line for name, value in told.items() for line in hanging(f"{'':<{KEY_WIDTH}}{name}: ", str(value))]
