"""What a run would do, and whether there is anything to do; computes nothing, needs no Prefect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flows.dvc_commands import dvc_status, locked_stages
from flows.result import RunResult
from flows.store import stored_release
from tasks.errors import GraftError
from tasks.params import Params
from tasks.release import QUALIFICATION, manifest_sha256, verify_release
from tasks.reports import EvaluationReport, Verdict
from tasks.reports.qualification import Qualification
from tasks.workspace import STAGES, Workspace

RELEASE_STAGES = ("export", "qualify")
CODE = "tasks/"


@dataclass(frozen=True)
class Step:
    """A stage, and why it would run; no reasons: it would be skipped."""

    stage: str
    reasons: list[str]


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
    if len(code) < 2:
        return list(reasons)
    return [f"{len(code)} files of {CODE} changed", *(reason for reason in reasons if reason not in code)]


def publish_step(workspace: Workspace, params: Params, steps: Sequence[Step]) -> Step:
    """Publishing, which is no stage of DVC's: it copies a release that qualified and that the store does not hold."""
    if any(step.reasons for step in steps):
        return Step("publish", ["if qualify passes another release"])
    standing = finished_result(workspace, params, "plan", steps)
    return Step("publish", [] if standing else ["the store does not hold the qualified release, or not unharmed"])


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
            return _refused(run_id, "gate", verdict.reasons).with_evaluation(evaluation)
        qualification = Qualification.read(workspace.qualification)
        if changed:
            return None
        if not qualification.passed:
            return _refused(run_id, "qualify", qualification.reasons).with_evaluation(evaluation)
        stored = stored_release(workspace.store(params.publish.store), manifest_sha256(workspace.release))
        verify_release(stored, beside=(QUALIFICATION,))
    except (GraftError, OSError):
        return None
    released = RunResult(run_id=run_id, state="released", unchanged=True, release=workspace.relative(stored))
    return released.with_evaluation(evaluation)


def _refused(run_id: str, stage: str, reasons: list[str]) -> RunResult:
    return RunResult(run_id=run_id, state="refused", unchanged=True, reasons=reasons, stopped_in=stage)
