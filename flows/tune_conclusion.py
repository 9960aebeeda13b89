"""What a search came to: which trial is best, and what it would change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tasks.reports.trials import TrialOutcome, TrialRecord, TuneReport
from tasks.workspace import Workspace

MORE_TIME = "give it more time with --budget; the same command goes on where it stopped"


def result_file(workspace: Workspace, run_id: str) -> Path:
    """What the flow hands to the desk; removed once it is read."""
    return workspace.private / "tune" / f"{run_id}.json"


def concluded(
    empty: TuneReport,
    trials: Sequence[TrialRecord],
    judged: TrialOutcome | None,
    present: Mapping[str, Any],
    ended: str,
    fault: str = "",
) -> TuneReport:
    """The report of a search that ended by itself; `failed` where no trial is complete.

    Args:
        trials: best first.
        judged: the outcome of any complete trial: on what all were judged, and the probe's figures there.
        present: what params.yaml says of the searched settings; only a higher score than theirs changes them, or any
            where they failed. Before they were tried nothing changes them.
        ended: why the search ended.
        fault: why a trial failed, where one did.
    """
    complete = [trial for trial in trials if trial.state == "complete"]
    known: dict[str, Any] = {"trials": list(trials), "ended": ended}
    if not complete or judged is None:
        told = fault or (MORE_TIME if any(trial.state == "unfinished" for trial in trials) else "")
        reasons = [f"no trial came to its end: {ended}", *told.splitlines()]
        return empty.model_copy(update={**known, "reasons": reasons, "stopped_in": "trials"})
    best, here = complete[0], next((trial for trial in complete if trial.settings == present), None)
    failed = any(trial.state == "failed" and trial.settings == present for trial in trials)
    better = failed if here is None else (best.score or 0.0) > (here.score or 0.0)
    wanted = {f"adapt.method.{name}": value for name, value in best.settings.items() if value != present[name]}
    return empty.model_copy(
        update={
            **known,
            "state": "done",
            "best": best.number,
            "present": here.number if here else None,
            "changes": wanted if better else {},
            "judged_by": judged.judged_by,
            "judged_items": judged.items,
            "probe_accuracy": judged.probe_accuracy,
            "probe_loss": judged.probe_loss,
        }
    )
