"""One page about a search over settings: the trials, best first, and what each searched parameter did to the score.

It belongs to no stage, so it may say how long a trial took.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.plots import tune_charts
from tasks.plots.number_text import count_text, counted_text, ratio_text
from tasks.plots.trial import Trial, TrialState

OPEN_ROWS = 20
_ORDER: dict[TrialState, int] = {"complete": 0, "pruned": 1, "unfinished": 2, "failed": 3}


@dataclass(frozen=True)
class TrialRow:
    """One trial as text; `values` in the order of the page's keys."""

    number: int
    state: TrialState
    score: str
    values: list[str]
    epochs: str
    seconds: str
    best: bool


def best_first(trials: Sequence[Trial]) -> list[Trial]:
    """Complete trials by falling score, then pruned ones likewise, then the rest; ties by number."""
    return sorted(trials, key=lambda trial: (_ORDER[trial.state], -(trial.score or 0.0), trial.number))


def searched_keys(trials: Sequence[Trial]) -> list[str]:
    """Every key that a trial sets, in the order in which they first come."""
    ordered = sorted(trials, key=lambda trial: trial.number)
    return list(dict.fromkeys(key for trial in ordered for key in trial.params))


def trial_rows(trials: Sequence[Trial]) -> list[TrialRow]:
    """Rows of the table, best first."""
    keys, best = searched_keys(trials), tune_charts.best_trial(trials)
    return [
        TrialRow(
            number=trial.number,
            state=trial.state,
            score="" if trial.score is None else ratio_text(trial.score),
            values=[tune_charts.value_text(trial.params[key]) if key in trial.params else "" for key in keys],
            epochs=count_text(trial.epochs) if trial.epochs else "",
            seconds="" if trial.seconds is None else _seconds_text(trial.seconds),
            best=trial is best,
        )
        for trial in best_first(trials)
    ]


def trials_page(trials: Sequence[Trial], *, name: str = "", score_name: str = "accuracy", about: str = "") -> str:
    """The page as text: one self-contained HTML file.

    Args:
        trials: in any order.
        name: of the model searched for, in the page's head.
        score_name: what the score is, in words.
        about: a sentence on how trials were judged (on which items).
    """
    from tasks.plots.page import render

    best = tune_charts.best_trial(trials)
    context = {
        "name": name,
        "about": about,
        "score_name": score_name,
        "headline": _headline(trials, best, score_name),
        "counted_states": _counted_states(trials),
        "best": best,
        "best_values": [(key, tune_charts.value_text(value)) for key, value in (best.params if best else {}).items()],
        "keys": [tune_charts.short_key(key) for key in searched_keys(trials)],
        "rows": trial_rows(trials),
        "history": tune_charts.history_chart(trials, score_name),
        "charts_of": tune_charts.parameter_charts(trials, score_name),
        "open_rows": OPEN_ROWS,
    }
    return render("tune.html.j2", None, context, {})


def _headline(trials: Sequence[Trial], best: Trial | None, score_name: str) -> str:
    if best is None:
        return "No trial is complete yet" if trials else "No trial has begun yet"
    return f"Trial {best.number} is the best: {score_name} {ratio_text(best.score or 0.0)}"


def _counted_states(trials: Sequence[Trial]) -> str:
    """How many trials there are of each state, in a sentence."""
    counts = [(state, sum(trial.state == state for trial in trials)) for state in _ORDER]
    states = ", ".join(f"{count_text(count)} {state}" for state, count in counts if count)
    return f"{counted_text(len(trials), 'trial')}{f': {states}' if states else ''}."


def _seconds_text(seconds: float) -> str:
    return count_text(seconds) if seconds >= 10 else f"{seconds:.1f}"
