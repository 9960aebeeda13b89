"""A trial of the search over settings, as the page and the command line show it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

TrialState = Literal["complete", "pruned", "failed", "unfinished"]


@dataclass(frozen=True)
class Trial:
    """One trial.

    Attributes:
        number: from 0, in the order in which trials began.
        score: what the search maximises, in [0, 1], never of a test item; of a pruned trial the last one it reached;
            None where there is none.
        params: what was tried, by its key in params.yaml (`adapt.method.learning_rate`); int, float, bool, str or None.
        epochs: how many were trained.
        seconds: wall time; None while it runs.
    """

    number: int
    state: TrialState
    score: float | None
    params: dict[str, Any]
    epochs: int = 0
    seconds: float | None = None
