"""What a run would do, and whether there is anything to do; computes nothing but the pins, needs no Prefect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flows.champion_pin import standing_pin
from flows.dvc_commands import dvc_status, locked_stages
from flows.inputs import write_inputs
from flows.result import RunResult
from flows.store import stored_release
from flows.versions import versions
from tasks.errors import GraftError
from tasks.params import Params
from tasks.release import QUALIFICATION, manifest_sha256, verify_release
from tasks.reports import ChampionPin, EvaluationReport, Verdict
from tasks.reports.qualification import Qualification
from tasks.reports.quantization import int8_evaluation, int8_refused
from tasks.workspace import STAGES, Workspace

RELEASE_STAGES = ("export", "qualify")
CODE = "tasks/"
CALLED = {"data/champion.json modified": "what it is compared with changed (data/champion.json)"}
"""Reasons of DVC's that a person would not understand."""


@dataclass(frozen=True)
class Step:
    """A stage, and why it would run; no reasons: it would be skipped."""

    stage: str
    reasons: list[str]


@dataclass(frozen=True)
class Outlook:
    """Every stage, and the result that stands already where a run would change nothing."""

    steps: list[Step]
    standing: RunResult | None


def look_ahead(workspace: Workspace, params: Params, run_id: str, pin: ChampionPin) -> Outlook:
    """Write the pinned inputs and say what a run would do.

    Where production has just become this workspace's own release and nothing else changed, the pin stays as it was: the
    release stands, and is not compared with itself.

    Args:
        pin: what `flows.champion_pin.wanted_pin` says.
    """
    standing = standing_pin(workspace, pin)
    for tried in [standing, pin] if standing != pin else [pin]:
        write_inputs(workspace, params, tried)
        steps = plan_steps(workspace)
        result = finished_result(workspace, params, run_id, steps)
        if result and result.state == "released":
            break
    return Outlook(_without_unwanted(workspace, steps), result)


def _without_unwanted(workspace: Workspace, steps: list[Step]) -> list[Step]:
    """The steps; export and qualify have nothing to do where the standing verdict is about production's own model."""
    due = {step.stage for step in steps if step.reasons}
    if not due or due - set(RELEASE_STAGES) or not _is_unchanged(workspace):
        return steps
    return [Step(step.stage, []) for step in steps]


def _is_unchanged(workspace: Workspace) -> bool:
    try:
        champion = Verdict.read(workspace.verdict).champion
    except GraftError:
        return False
    return champion is not None and champion.outcome == "unchanged"


def plan_steps(workspace: Workspace) -> list[Step]:
    """Every stage in order. A stage whose own inputs stand, but behind one that runs, may turn out unchanged."""
    changes, known = dvc_status(workspace), locked_stages(workspace)
    steps, upstream = [], ""
    for stage in STAGES:
        reasons = _told(changes.get(stage, []), stage in known)
        if not reasons and upstream:
            reasons = [f"if {upstream} gives another result"]
        elif reasons and not upstream:
            upstream = stage
        steps.append(Step(stage, reasons))
    return steps


def _told(reasons: Sequence[str], known: bool) -> list[str]:
    """Reasons for a person: code folded to a count, and all of them to one where no result stands to differ from."""
    if reasons and not known:
        return ["no earlier result here"]
    code = [reason for reason in reasons if reason.startswith(CODE)]
    others = [CALLED.get(reason, reason) for reason in reasons if reason not in code]
    return [*code, *others] if len(code) < 2 else [f"{len(code)} files of {CODE} changed", *others]


def publish_step(ahead: Outlook) -> Step:
    """Publishing, which is no stage of DVC's: it copies a release that qualified and that the store does not hold."""
    if any(step.reasons for step in ahead.steps):
        return Step("publish", ["if qualify passes another release"])
    return Step("publish", [] if ahead.standing else ["the store does not hold the qualified release, or not unharmed"])


def finished_result(workspace: Workspace, params: Params, run_id: str, steps: Sequence[Step]) -> RunResult | None:
    """The result that stands already, if a run would change nothing; None if there is something to do.

    Args:
        steps: what `plan_steps` says of the workspace as it is.
    """
    changed = {step.stage for step in steps if step.reasons}
    if changed - set(RELEASE_STAGES):
        return None
    try:
        evaluation, verdict = EvaluationReport.read(workspace.evaluation), Verdict.read(workspace.verdict)
        if not verdict.passed:
            return _told_of(_refused(run_id, "gate", verdict.reasons), evaluation, verdict)
        if verdict.champion and verdict.champion.outcome == "unchanged":
            champion = _released(workspace, params, run_id, verdict.champion.champion or "")
            return _told_of(champion, evaluation, verdict)
        qualification = Qualification.read(workspace.qualification)
        if changed:
            return None
        if not qualification.passed:
            return _told_of(_refused(run_id, "qualify", qualification.reasons), evaluation, verdict)
        released = _released(workspace, params, run_id, manifest_sha256(workspace.release))
        released = released.model_copy(update={"not_int8": int8_refused(workspace.quantization)})
        return _told_of(released, int8_evaluation(workspace.quantization) or evaluation, verdict)
    except (GraftError, OSError):
        return None


def _released(workspace: Workspace, params: Params, run_id: str, digest: str) -> RunResult:
    """A release that the store holds, with the version that it is, if it is one.

    Raises:
        ReleaseError: it is damaged or not there.
    """
    stored = stored_release(workspace.store(params.publish.store), digest)
    verify_release(stored, beside=(QUALIFICATION,))
    version = next((one.version for one in versions(workspace.root) if one.manifest_sha256 == digest), None)
    return RunResult(
        run_id=run_id, state="released", unchanged=True, release=workspace.relative(stored), version=version
    )


def _told_of(result: RunResult, evaluation: EvaluationReport, verdict: Verdict) -> RunResult:
    return result.with_evaluation(evaluation).with_verdict(verdict, evaluation)


def _refused(run_id: str, stage: str, reasons: list[str]) -> RunResult:
    return RunResult(run_id=run_id, state="refused", unchanged=True, reasons=reasons, stopped_in=stage)
