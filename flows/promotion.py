"""`graft promote`: a published version takes over production, where its verdict allows it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from flows.actor import one_line
from flows.records import StageChange, VersionRecord
from flows.served_release import check_servable
from flows.settled_pointer import settle_or_refuse
from flows.stage_change import StageMove, Wish, change_stage
from flows.stage_history import stage_history
from flows.version_files import version_report
from flows.version_params import version_params
from flows.versions import among, version_name, versions
from tasks.errors import NotPromotable
from tasks.params import ChampionRule, Params
from tasks.reports.evaluation import EvaluationReport
from tasks.reports.verdict import Verdict
from tasks.stage import say
from tasks.workspace import Workspace


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
        if fault and not force:
            raise NotPromotable(fault)
        return fault is not None

    changes = stage_history(root)
    present = changes[-1] if changes else None
    if present and present.manifest_sha256 == wanted.manifest_sha256:
        return StageMove(moved=False, change=present)
    judge(present)
    check_servable(store, wanted.manifest_sha256)
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
    forced = "--force promotes it all the same, and is marked for ever"
    if wanted.outcome == "equivalent" and not equivalent:
        return (
            f"{name} is equivalent to {_champion(wanted.champion, known)}, and promotion.equivalent is false; {forced}"
        )
    if wanted.promotable or (wanted.outcome == "equivalent" and against_best()):
        return None
    return f"{name} is not promotable: its verdict is {wanted.outcome} (`graft show {name}` tells why); {forced}"


def holds_against_best(root: Path, wanted: VersionRecord) -> bool:
    """Judge a version as gate did, with promotion.equivalent; False where its run's commit is not here."""
    from tasks.champion_judgement import judge_champion

    evaluation = version_report(root, wanted, "evaluation.json", EvaluationReport)
    verdict = version_report(root, wanted, "gate.json", Verdict)
    made_with = version_params(root, wanted)
    if evaluation is None or verdict is None or verdict.champion is None or made_with is None:
        return False
    try:
        rule = ChampionRule(**{name: made_with[f"gate.champion.{name}"] for name in ChampionRule.model_fields})
    except KeyError:  # Of a Graft whose params this one does not read.
        return False
    return judge_champion(evaluation.comparisons, rule, verdict.champion.use, promote_equivalent=True).promotable


def _champion(digest: str | None, known: Sequence[VersionRecord]) -> str:
    if digest is None:
        return "no champion (nothing was in production)"
    return next((version_name(one.version) for one in known if one.manifest_sha256 == digest), f"release {digest[:12]}")
