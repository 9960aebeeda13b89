"""`graft promote`: a published version takes over production, where its verdict allows it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from flows.actor import one_line
from flows.records import StageChange, VersionRecord
from flows.served_release import check_servable
from flows.settled_pointer import settle_or_refuse
from flows.signing import configured_trust
from flows.stage_change import StageMove, Wish, change_stage
from flows.stage_history import stage_history
from flows.version_files import version_report
from flows.version_params import version_params
from flows.versions import among, version_name, versions
from tasks.errors import NotPromotable
from tasks.params import ChampionRule, Params, load_params
from tasks.reports.comparison import PairedComparison
from tasks.reports.evaluation import EvaluationReport
from tasks.reports.verdict import Verdict
from tasks.stage import say
from tasks.workspace import Workspace

FORCED = "--force promotes it all the same, and is marked for ever"


def promote(
    workspace: Workspace, params: Params, version: str, reason: str, actor: str, force: bool = False
) -> StageChange:
    """Put a published version into production. Several processes may promote at once: one after the other decides.

    Args:
        version: `v3`, `3`, `v3.0.0` or how the release's digest begins.
        force: also where the verdict does not allow it; the change is marked as forced for ever.
    Returns:
        the change by which it is in production: the new one, or where it was already, the one that made it so.
    Raises:
        NotPromotable: the verdict does not allow it, or was made against another champion.
        UserError: there is no such version, or no reason.
        ReleaseError: the release is gone or damaged.
    """
    return promotion(workspace, params, version, reason, actor, force).change


def promotion(
    workspace: Workspace, params: Params, version: str, reason: str, actor: str, force: bool = False
) -> StageMove:
    """As `promote`; also says whether anything changed."""
    root, store = workspace.root, workspace.store(params.publish.store)
    said, by = one_line(reason, "--reason"), one_line(actor, "--who")
    known = versions(root)
    wanted = among(known, version)
    for line in settle_or_refuse(workspace, store):
        say(line, "warning")

    def judge(present: StageChange | None) -> bool:
        fault = refusal(wanted, present, known, params.promotion.equivalent, lambda: holds_against_best(root, wanted))
        fault = fault or outdated
        if fault and not force:
            raise NotPromotable(fault)
        return fault is not None

    changes = stage_history(root)
    present = changes[-1] if changes else None
    if present and present.manifest_sha256 == wanted.manifest_sha256:
        return StageMove(moved=False, change=present)
    outdated = outdated_verdict(workspace, params, wanted)
    judge(present)
    check_servable(store, wanted.manifest_sha256, configured_trust(workspace, params))
    wish = Wish("promote", wanted.version, wanted.manifest_sha256, by, said)
    return change_stage(root, store, wish, judge)


def catch_up(workspace: Workspace, params: Params) -> list[str]:
    """Take over what other machines published and promoted, so that a promotion is decided on what is live now.

    Returns:
        a line where the remote could not be asked; the decision then rests on what is known here.
    """
    from flows.pushing import fetch_state

    unknown = fetch_state(workspace, params)
    return [unknown] if unknown else []


def refusal(
    wanted: VersionRecord,
    present: StageChange | None,
    known: Sequence[VersionRecord],
    equivalent: bool,
    against_best: Callable[[], bool] = lambda: False,
) -> str | None:
    """Why a version may not be promoted over what is in production; None: it may.

    Args:
        equivalent: promotion.equivalent of params.yaml as it is now.
        against_best: asked where an equivalent version was published while promotion.equivalent was false: whether it
            loses no more than the margin against the most accurate version, too.
    """
    name = version_name(wanted.version)
    if wanted.champion != (present.manifest_sha256 if present else None):
        return (
            f"{name} was judged against {_champion(wanted.champion, known)}, production is "
            f"{version_name(present.version) if present else 'empty'}; run `graft adapt --publish` again, or promote "
            "it with --force"
        )
    if wanted.outcome == "equivalent" and not equivalent:
        return (
            f"{name} is equivalent to {_champion(wanted.champion, known)}, and promotion.equivalent is false; {FORCED}"
        )
    if wanted.promotable or (wanted.outcome == "equivalent" and against_best()):
        return None
    return f"{name} is not promotable: its verdict is {wanted.outcome} (`graft show {name}` tells why); {FORCED}"


def outdated_verdict(workspace: Workspace, params: Params, wanted: VersionRecord) -> str | None:
    """Why a version that was judged by another gate.champion may not be promoted by the checkout's present one.

    A run may have had another rule: a former one, or its own, set for it alone. A rule that was loosened since gains
    nothing, as the version's own verdict is asked, too.

    Returns:
        None where it may, was judged by the same rule, or its run's commit is not here.
    Raises:
        ParamsError: the checkout's params.yaml cannot be read.
    """
    from tasks.champion_judgement import still_promotable

    judged = _judgement(workspace.root, wanted)
    own = workspace.home == workspace.root
    rule = (params if own else load_params(Workspace(workspace.home).params)).gate.champion
    if judged is None or judged.rule == rule:
        return None
    may, reasons = still_promotable(judged.comparisons, rule, judged.use, params.promotion.equivalent)
    if may:
        return None
    return (
        f"{version_name(wanted.version)} was judged by another gate.champion than params.yaml has now, and by this one "
        f"it is not promotable: {'; '.join(reasons)}; {FORCED}"
    )


def holds_against_best(root: Path, wanted: VersionRecord) -> bool:
    """Judge a version as gate did, with promotion.equivalent; False where its run's commit is not here."""
    from tasks.champion_judgement import judge_champion

    judged = _judgement(root, wanted)
    if judged is None or judged.rule is None:
        return False
    return judge_champion(judged.comparisons, judged.rule, judged.use, promote_equivalent=True).promotable


@dataclass(frozen=True)
class _Judgement:
    """What a version was judged by; `rule` is None where its params are not of this Graft, or damaged."""

    comparisons: Sequence[PairedComparison]
    use: int
    rule: ChampionRule | None


def _judgement(root: Path, wanted: VersionRecord) -> _Judgement | None:
    """From the run's commit; None where that is not here."""
    evaluation = version_report(root, wanted, "evaluation.json", EvaluationReport)
    verdict = version_report(root, wanted, "gate.json", Verdict)
    if evaluation is None or verdict is None or verdict.champion is None:
        return None
    made_with = version_params(root, wanted) or {}
    try:
        rule = ChampionRule(**{name: made_with[f"gate.champion.{name}"] for name in ChampionRule.model_fields})
    except (KeyError, ValueError):
        rule = None
    return _Judgement(evaluation.comparisons, verdict.champion.use, rule)


def _champion(digest: str | None, known: Sequence[VersionRecord]) -> str:
    if digest is None:
        return "no champion (nothing was in production)"
    return next((version_name(one.version) for one in known if one.manifest_sha256 == digest), f"release {digest[:12]}")
