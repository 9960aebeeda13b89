"""Which verdict stands: what gate recorded against what lies on disk now."""

from __future__ import annotations

from pathlib import Path

from tasks.digests import file_sha256, folder_sha256, rows_sha256, value_sha256
from tasks.errors import GateNotPassed, StageInputError
from tasks.params import Params
from tasks.reports import ChampionPin, EvaluatedDigests, JudgedDigests, ValidationReport, Verdict
from tasks.tables import SPLITS, read_table
from tasks.workspace import Workspace

JUDGED = {
    "data": "the data (reports/validation.json)",
    "adapted": "models/adapted/",
    "splits": "data/splits.parquet",
    "predictions": "reports/predictions.parquet",
    "evaluation": "reports/evaluation.json",
    "gate_params": "the section gate of params.yaml",
    "champion_pin": "the champion (data/champion.json)",
    "champion_predictions": "reports/champion_predictions.parquet",
    "baseline_predictions": "reports/baseline_predictions.parquet",
    "test_use": "the use of the test set (data/test_use.json)",
}


def check_verdict(workspace: Workspace, params: Params) -> Verdict:
    """The verdict, if it passed and judged exactly what lies on disk now.

    Raises:
        GateNotPassed: the verdict is a refusal, or any digest differs from what it judged; names which.
        StageInputError: the verdict or something that it judged is missing or unreadable.
    """
    verdict = Verdict.read(workspace.verdict)
    now = judged_digests(workspace, params)
    changed = [JUDGED[name] for name in differing(verdict.digests, now)]
    if changed:
        raise GateNotPassed(
            f"reports/gate.json judged something else: {', '.join(changed)} changed since; "
            "run `graft adapt` (stages evaluate and gate)"
        )
    if not verdict.passed or not all(rule.passed for rule in verdict.rules) or not verdict.rules:
        raise GateNotPassed("\n".join(verdict.reasons) or "reports/gate.json holds a refusal without a reason")
    champion = verdict.champion
    if champion is not None and champion.outcome == "unchanged":
        raise GateNotPassed(
            f"this model is in production already, as v{champion.version} (release {(champion.champion or '')[:12]}); "
            "nothing to export"
        )
    return verdict


def judged_digests(workspace: Workspace, params: Params) -> JudgedDigests:
    """sha256 of everything a verdict rests on, as it lies on disk now; raises what `evaluated_digests` does.

    Where no earlier release is pinned, neither the use of the test set nor promotion.equivalent enters, for neither
    bears on the verdict: then a model's release does not depend on what was tried before it.
    """
    evaluated, judged = evaluated_digests(workspace), params.gate.model_dump(mode="json")
    pinned = evaluated.champion_pin is not None
    return JudgedDigests(
        **evaluated.model_dump(),
        evaluation=digest_of(workspace.evaluation, "evaluate"),
        gate_params=value_sha256({**judged, "promotion.equivalent": params.promotion.equivalent} if pinned else judged),
        test_use=digest_of(workspace.test_use, "gate") if pinned else None,
    )


def evaluated_digests(workspace: Workspace) -> EvaluatedDigests:
    """sha256 of what an evaluation rests on and of its predictions, as they lie on disk now.

    Raises:
        StageInputError: one of the files is missing.
    """
    pin = read_champion_pin(workspace)
    pinned = pin.champion is not None or pin.best is not None
    return EvaluatedDigests(
        data=ValidationReport.read(workspace.validation).data_digest,
        adapted=digest_of(workspace.adapted, "adapt"),
        splits=digest_of(workspace.splits, "split"),
        predictions=digest_of(workspace.predictions, "evaluate"),
        champion_pin=file_sha256(workspace.champion_pin) if pinned else None,
        champion_predictions=digest_of(workspace.champion_predictions, "evaluate") if pinned else None,
        baseline_predictions=file_sha256(workspace.baseline_predictions)
        if workspace.baseline_predictions.is_file()
        else None,
    )


def test_set_of(workspace: Workspace) -> str:
    """sha256 of the test items of data/splits.parquet and their labels, wherever they lie.

    Raises:
        StageInputError: the splits are missing or damaged.
    """
    rows = read_table(workspace.splits, SPLITS, ("sha256", "label", "side")).to_pydict()
    return rows_sha256(
        sorted(
            (content, label)
            for content, label, side in zip(rows["sha256"], rows["label"], rows["side"], strict=True)
            if side == "test"
        )
    )


def read_champion_pin(workspace: Workspace) -> ChampionPin:
    """Which releases the model is compared with.

    Raises:
        StageInputError: data/champion.json is missing or unreadable.
    """
    if not workspace.champion_pin.is_file():
        raise StageInputError(
            f"{workspace.champion_pin} is missing; run `graft adapt`, which pins what is in production"
        )
    return ChampionPin.read(workspace.champion_pin)


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
