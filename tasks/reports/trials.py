"""A search over settings: what a trial says while it works, and what the search hands on."""

from __future__ import annotations

from math import exp
from typing import Any, ClassVar, Literal

from tasks.reports.document import Record, Report
from tasks.reports.training import JudgedBy

TRIAL_MARK = "graft-trial "
TrialState = Literal["complete", "pruned", "failed", "unfinished"]
SearchState = Literal["done", "refused", "failed", "interrupted"]


TIE_BREAK = 1e-6


def trial_score(accuracy: float, loss: float) -> float:
    """What a search maximises: accuracy, and between equal ones the lower log-loss, as a ratio in [0, 1].

    Of the accuracy a millionth is taken away for the loss, by exp(-loss), the geometric mean of the probabilities that
    the right classes were given: less than one item of a million, so that no loss ever outweighs an item.

    >>> trial_score(0.5, 0.7) < trial_score(0.5, 0.6) < trial_score(0.501, 9.0)
    True
    """
    return max(0.0, accuracy - TIE_BREAK * (1.0 - exp(-loss)))


class TrialEpoch(Record):
    """After one of `epochs` epochs of the first of `trainings` trainings: the figures on the items it is judged on."""

    epoch: int
    epochs: int
    trainings: int = 1
    accuracy: float
    loss: float


class TrialOutcome(Record):
    """What a trial came to. The probe's figures are null where the probe itself was tried."""

    accuracy: float
    loss: float
    items: int
    judged_by: JudgedBy
    epochs: int = 0
    best_epoch: int = 0
    probe_accuracy: float | None = None
    probe_loss: float | None = None


class TrialWord(Record):
    """One marked line of a trial's process: exactly one of the three."""

    epoch: TrialEpoch | None = None
    outcome: TrialOutcome | None = None
    fault: str | None = None

    def line(self) -> str:
        return TRIAL_MARK + self.model_dump_json(exclude_none=True)


class TrialRecord(Record):
    """One trial of a search.

    Attributes:
        number: from 0, in the order in which trials began.
        settings: what was tried, by its key in params.yaml.
        score: `trial_score`; of a pruned trial at the last epoch it reached.
        as_they_are: it tried what params.yaml said.
        reason: why it failed.
    """

    number: int
    state: TrialState
    settings: dict[str, Any]
    score: float | None = None
    accuracy: float | None = None
    loss: float | None = None
    epochs: int = 0
    best_epoch: int = 0
    seconds: float | None = None
    as_they_are: bool = False
    reason: str | None = None


class TuneReport(Report):
    """reports/tune.json, and what `graft tune --json` prints. No figure is of a test item.

    Attributes:
        trials: best first, those of earlier runs of the same search among them.
        tried: how many ended in this run.
        present: the trial of what params.yaml said before; null: it was not reached, or failed.
        best: the trial of the highest score; null: none is complete.
        changes: what `best` would change in params.yaml; empty where nothing is better.
        written: params.yaml holds the changes.
        ended: why the search ended.
        study: the file that keeps the trials, relative to the workspace.
    """

    produced_by: ClassVar[str] = ""

    run_id: str
    state: SearchState
    method: str = ""
    judged_by: JudgedBy | None = None
    judged_items: int = 0
    probe_accuracy: float | None = None
    probe_loss: float | None = None
    trials: list[TrialRecord] = []
    tried: int = 0
    present: int | None = None
    best: int | None = None
    changes: dict[str, Any] = {}
    written: bool = False
    ended: str = ""
    reasons: list[str] = []
    stopped_in: str | None = None
    study: str | None = None
    page: str | None = None
