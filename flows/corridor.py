"""The Prefect flow: one task run per stage, then publish; ends as Released, Refused or Failed."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed, Failed

from flows import artifacts
from flows.actor import actor_of
from flows.automatic_promotion import Approve, promote_if_allowed
from flows.cancellation import cancellation_of
from flows.champion_pin import champion_now, check_champion, fetch_pinned
from flows.endings import STOPPED, disk_fault
from flows.events import announce
from flows.inputs import write_inputs, write_split_memory
from flows.publication import Published, Wish, publish_version
from flows.publish import publish
from flows.pushing import push_pending
from flows.records import VersionRecord
from flows.result import RunResult, Timings
from flows.stage_runs import StageRefused, StageRuns
from flows.store import stored_release
from flows.test_set_ledger import record_use, warning_of
from flows.versions import version_name
from tasks.errors import GraftError, NotQualified, Refusal, StageFailed, WorkspaceError
from tasks.params import Params, load_params
from tasks.reports import (
    AdaptationReport,
    ChampionPin,
    ChampionVerdict,
    EvaluationReport,
    ReviewReport,
    ValidationReport,
    Verdict,
)
from tasks.reports.qualification import Qualification
from tasks.reports.quantization import int8_evaluation, int8_refused
from tasks.workspace import Workspace

BEFORE_THE_PAGE = ("validate", "embed", "split", "review", "adapt", "evaluate")
"""The stages before gate, which renders reports/report.html."""

BEFORE_THE_DATA_PAGE = ("validate", "embed", "split", "review")
"""The stages up to review, which renders reports/validation.html; validate does so itself when it refuses."""


@flow(name="adapt", retries=0, validate_parameters=False)
def adapt_flow(root: str, run_id: str, publish: bool = False, why: str = "") -> State[Any]:
    """Validate, embed, split, review, adapt, evaluate, gate, export, qualify and publish one workspace.

    Args:
        publish: also register the release as a version.
        why: what it was started for, for the version's record.
    """
    workspace = Workspace(Path(root))
    wish = desk_wish(workspace, run_id, why) if publish else None
    with cancellation_of(UUID(str(flow_run.id))) as cancelled:
        result = run_corridor(workspace, run_id, cancelled, wish)
    return Cancelled() if cancelled.is_set() else final_state(result)


def desk_wish(workspace: Workspace, run_id: str, why: str) -> Wish:
    """A version in the name of whom git knows here."""
    return Wish(run_id=run_id, by=actor_of(workspace.root), why=why)


def run_corridor(
    workspace: Workspace,
    run_id: str,
    cancelled: threading.Event,
    wish: Wish | None = None,
    approve: Approve | None = None,
) -> RunResult:
    """One run through the corridor, inside a flow run; the caller holds the workspace's lock.

    The result also lies in .graft/runs/<run_id>.json, of the workspace and of the checkout that it belongs to.

    Args:
        cancelled: set when the run is to end.
        wish: under which name and for what the release is registered as a version; None: it is not.
        approve: asks a person before a promotion where promotion.approval wants that; None: nobody can be asked.
    """
    run = CorridorRun(workspace, load_params(workspace.params), run_id, cancelled, wish, approve)
    try:
        result = run.to_the_end()
    except BaseException as stop:
        if not isinstance(stop, Exception):  # Ctrl-C, or Prefect's way to end a process that it cancels.
            _keep(workspace, run.interrupted())
        raise
    _keep(workspace, result)
    return result


def _keep(workspace: Workspace, result: RunResult) -> None:
    try:
        for home in {workspace.root, workspace.home}:
            result.write(Workspace(home).run_result(result.run_id))
        Timings(run_id=result.run_id, seconds=result.seconds, memory_gb=result.memory_gb).write(workspace.timings)
    except OSError as err:
        get_run_logger().error("%s", f"the run's result is not on disk: {disk_fault(err)}")


def final_state(result: RunResult) -> State[Any]:
    """The flow run's state; Refused is a failed state of that name, with the reasons."""
    if result.state == "released":
        return Completed(name="Released", message=result.ending)
    message = "; ".join(result.reasons)
    return Failed(name="Refused", message=message) if result.state == "refused" else Failed(message=message)


class CorridorRun(StageRuns):
    """One run through the corridor: what is due, and how it ended."""

    def __init__(
        self,
        workspace: Workspace,
        params: Params,
        run_id: str,
        cancelled: threading.Event,
        wish: Wish | None = None,
        approve: Approve | None = None,
    ) -> None:
        super().__init__(workspace, params, run_id, cancelled)
        self.wish, self.approve = wish, approve
        self.result = RunResult(run_id=run_id, state="failed")
        self.published: Published | None = None

    def to_the_end(self) -> RunResult:
        """Run every stage that is due; every ending of our own is a result, never an exception."""
        try:
            self._pin()
            self._stages()
            return self._ended("released", [])
        except Refusal as err:
            self._announce_refusal(err)
            return self._ended("refused", str(err).splitlines(), stopped_in=self.at)
        except GraftError as err:
            state = "interrupted" if self.cancelled.is_set() else "failed"
            return self._ended(state, str(err).splitlines(), stopped_in=self.at)
        except OSError as err:
            return self._ended("failed", [disk_fault(err)], stopped_in=self.at)

    def interrupted(self) -> RunResult:
        """The result of a run that is stopped where it is."""
        return self._ended("interrupted", [STOPPED], stopped_in=self.at)

    def _pin(self) -> None:
        """Settle what the run is compared with, and have it at hand."""
        logger = get_run_logger()
        served = self.workspace.home != self.workspace.root  # The desk has fetched before it decided anything.
        pin = champion_now(self.workspace, self.params, logger.warning, publishes=served)
        write_inputs(self.workspace, self.params, pin)
        fetch_pinned(self.workspace, self.params, pin)
        if pin.champion:
            best = f", and with v{pin.best.version}, the best so far" if pin.best else ""
            logger.info("the model will be compared with v%d, which is in production%s", pin.champion.version, best)

    def _stages(self) -> None:
        for stage in BEFORE_THE_PAGE:
            if stage == "evaluate":
                self._enter_use()
            self._stage(stage)
        artifacts.show_review(ReviewReport.read(self.workspace.review_report))
        evaluation = EvaluationReport.read(self.workspace.evaluation)
        self.result = self.result.with_evaluation(evaluation)
        artifacts.show_evaluation(evaluation)
        adaptation = AdaptationReport.read(self.workspace.adapted / "adapted.json")
        artifacts.show_findings(self.params, adaptation, evaluation)
        self._stage("gate")
        verdict = Verdict.read(self.workspace.verdict)
        self._check_compared(verdict)
        self.result = self.result.with_verdict(verdict, evaluation)
        artifacts.show_verdict(verdict)
        artifacts.show_report(self.workspace, self.run_id)
        artifacts.show_champion(self.params, evaluation, verdict)
        if not verdict.passed:
            raise StageRefused("\n".join(verdict.reasons))
        if verdict.champion and verdict.champion.outcome == "unchanged":
            self._name_champion(verdict.champion)
        else:
            self._release()

    def _enter_use(self) -> None:
        """Before any figure is seen: the ledger of the test set, and the file that gate reads of it."""
        self.at = "evaluate"
        use = record_use(self.workspace, self.run_id)
        if warning := warning_of(use, self.params.gate.champion.test_set_uses):
            get_run_logger().warning("%s", warning)

    def _check_compared(self, verdict: Verdict) -> None:
        """Nothing is published as the first where something is in production: stages of an old commit do not compare.

        Raises:
            StageFailed: a champion is pinned, and the verdict says nothing of it.
        """
        champion = ChampionPin.read(self.workspace.champion_pin).champion
        if champion and not (verdict.champion and verdict.champion.champion == champion.manifest_sha256):
            raise StageFailed(
                f"v{champion.version} is in production, and the verdict (reports/gate.json) does not say how the model "
                "compares with it: this commit's tasks/ and dvc.yaml are of an earlier Graft; run from a commit that "
                "holds this one's"
            )

    def _name_champion(self, verdict: ChampionVerdict) -> None:
        """The model is the one in production: nothing is exported, nothing published."""
        store = self.workspace.store(self.params.publish.store)
        release = stored_release(store, verdict.champion or "")
        changes = {"unchanged": True, "release": self.workspace.relative(release), "version": verdict.version}
        self.result = self.result.model_copy(update=changes)
        if self.wish:
            pending = push_pending(self.workspace, self.params)
            self.result = self.result.with_pushed(pending.pushed, pending.not_pushed)

    def _release(self) -> None:
        self._stage("export")
        if evaluation := int8_evaluation(self.workspace.quantization):
            self.result = self.result.with_evaluation(evaluation)
        self.result = self.result.model_copy(update={"not_int8": int8_refused(self.workspace.quantization)})
        self._stage("qualify")
        if self.cancelled.is_set():
            raise StageFailed("the run was cancelled before it published")
        qualification = Qualification.read(self.workspace.qualification)
        if not qualification.passed:
            raise NotQualified("\n".join(qualification.reasons))
        self._publish()

    def _publish(self) -> None:
        self.at = "publish"
        self._task("publish", self._run_publish, None, 0, 0.0)
        if self.published and self.wish and not self.cancelled.is_set():
            self.at = "promote"
            self._promote(self.published.version, self.wish)

    def _run_publish(self) -> State[Any] | None:
        started, self.error = time.monotonic(), None
        try:
            check_champion(self.workspace, self.params)
            release = publish(self.workspace, self.params)
            self.result = self.result.model_copy(update={"release": self.workspace.relative(release)})
            # Before the commit of the run branch, whose dvc.lock then finds nothing to do.
            self._settle()
            if self.wish:
                self._register(self.wish)
        except GraftError as err:
            return self._fault(err)
        except OSError as err:
            return self._fault(WorkspaceError(disk_fault(err)))
        self.seconds["publish"] = round(time.monotonic() - started, 3)
        return None

    def _register(self, wish: Wish) -> None:
        """The release becomes a version of the registry, on its run branch and, where there are any, at the remotes."""
        self.published = publish_version(self.workspace, self.params, wish)
        self.result = self.result.with_version(self.published)
        artifacts.show_version(self.result)
        version = self.published.version
        if version.run_id != wish.run_id:
            return  # It was published, and told, before.
        verdict = Verdict.read(self.workspace.verdict).champion
        announce(
            "published",
            version.name,
            version=version.version,
            manifest_sha256=version.manifest_sha256,
            outcome=version.outcome,
            reasons=verdict.reasons if verdict else [],
            run_id=wish.run_id,
            actor=wish.by,
            pushed=self.published.pushed,
        )

    def _promote(self, version: VersionRecord, wish: Wish) -> None:
        """The version takes over production where all that has a say allows it; where not, the run says why."""
        # No task of its own: only a flow may pause for a person's answer.
        reason = f"run {self.run_id}: {version.outcome}, promoted by the run"
        why_not = promote_if_allowed(self.workspace, self.params, version, reason, wish.by, self.approve)
        name = version_name(version.version)
        get_run_logger().info("%s", f"{name} is in production" if why_not is None else f"not promoted: {why_not}")
        self.result = self.result.model_copy(update={"promoted": why_not is None, "not_promoted": why_not})

    def _settle(self) -> None:
        """Let split see the memory it has just become, so that the next run finds nothing to do.

        The release stands already: what goes wrong here costs the next run a second and is no fault of this one.
        """
        logger = get_run_logger()
        try:
            write_split_memory(self.workspace, self.params)
            outcome = self._process("split", logger.debug)
        except (GraftError, OSError) as err:
            logger.warning("split could not settle after the release: %s", err)
            return
        if outcome.state not in ("done", "unchanged"):
            logger.warning("split did not reproduce itself from its memory: %s", "; ".join(outcome.reasons))

    def _announce_refusal(self, err: Refusal) -> None:
        name, outcome = self.params.export.name, self.result.outcome
        announce("refused", name, outcome=outcome, reasons=str(err).splitlines(), run_id=self.run_id, stage=self.at)

    def _remove_stale_pages(self, state: str, stopped_in: str | None) -> None:
        """The pages of an earlier run would tell of other data or another model."""
        if stopped_in in BEFORE_THE_PAGE:
            self.workspace.page.unlink(missing_ok=True)
        if stopped_in in BEFORE_THE_DATA_PAGE and (state, stopped_in) != ("refused", "validate"):
            self.workspace.validation_page.unlink(missing_ok=True)

    def _ended(self, state: str, reasons: list[str], stopped_in: str | None = None) -> RunResult:
        self._remove_stale_pages(state, stopped_in)
        changes: dict[str, Any] = {"state": state, "reasons": reasons, "seconds": self.seconds}
        changes["memory_gb"] = self.memory_gb
        changes["stopped_in"] = stopped_in
        if state != "released":
            changes["release"] = None
        if (state, stopped_in) == ("refused", "validate"):
            changes["data_digest"] = ValidationReport.read(self.workspace.validation).data_digest
        return self.result.model_copy(update=changes)
