"""Which verdict stands: what gate recorded against what lies on disk now."""

from __future__ import annotations

from pathlib import Path

from tasks.digests import file_sha256, folder_sha256, value_sha256
from tasks.errors import GateNotPassed, StageInputError
from tasks.params import GateParams, Params
from tasks.reports import EvaluatedDigests, JudgedDigests, ValidationReport, Verdict
from tasks.workspace import Workspace

JUDGED = {
    "data": "the data (reports/validation.json)",
    "adapted": "models/adapted/",
    "splits": "data/splits.parquet",
    "predictions": "reports/predictions.parquet",
    "evaluation": "reports/evaluation.json",
    "gate_params": "the section gate of params.yaml",
}


def check_verdict(workspace: Workspace, params: Params) -> Verdict:
    """The verdict, if it passed and judged exactly what lies on disk now.

    Raises:
        GateNotPassed: the verdict is a refusal, or any digest differs from what it judged; names which.
        StageInputError: the verdict or something that it judged is missing or unreadable.
    """
    verdict = Verdict.read(workspace.verdict)
    now = judged_digests(workspace, params.gate)
    changed = [JUDGED[name] for name in differing(verdict.digests, now)]
    if changed:
        raise GateNotPassed(
            f"reports/gate.json judged something else: {', '.join(changed)} changed since; "
            "run `graft adapt` (stages evaluate and gate)"
        )
    if not verdict.passed or not all(rule.passed for rule in verdict.rules) or not verdict.rules:
        raise GateNotPassed("\n".join(verdict.reasons) or "reports/gate.json holds a refusal without a reason")
    return verdict


def judged_digests(workspace: Workspace, gate: GateParams) -> JudgedDigests:
    """sha256 of everything a verdict rests on, as it lies on disk now."""
    evaluated = evaluated_digests(workspace)
    return JudgedDigests(
        **evaluated.model_dump(),
        evaluation=digest_of(workspace.evaluation, "evaluate"),
        gate_params=value_sha256(gate.model_dump(mode="json")),
    )


def evaluated_digests(workspace: Workspace) -> EvaluatedDigests:
    """sha256 of what an evaluation rests on and of its predictions, as they lie on disk now.

    Raises:
        StageInputError: one of the files is missing.
    """
    return EvaluatedDigests(
        data=ValidationReport.read(workspace.validation).data_digest,
        adapted=digest_of(workspace.adapted, "adapt"),
        splits=digest_of(workspace.splits, "split"),
        predictions=digest_of(workspace.predictions, "evaluate"),
    )


def differing(recorded: EvaluatedDigests | JudgedDigests, now: EvaluatedDigests | JudgedDigests) -> list[str]:
    """The names of the digests that differ, in the order of the fields."""
    return [name for name in type(recorded).model_fields if getattr(recorded, name) != getattr(now, name)]


def digest_of(path: Path, stage: str) -> str:
    """sha256 of a file, or of a folder's files.

    Raises:
        StageInputError: nothing is there.
    """
    if not path.exists():
        raise StageInputError(f"{path} is missing; run `graft adapt` (stage {stage})")
    return folder_sha256(path) if path.is_dir() else file_sha256(path)
