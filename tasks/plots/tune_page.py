"""One page about a search over settings: the trials, best first, and what each searched parameter did to the score."""

from __future__ import annotations

from collections.abc import Sequence

from tasks.plots.trial import Trial


def best_first(trials: Sequence[Trial]) -> list[Trial]:
    """Complete trials by falling score, then pruned ones likewise, then the rest; ties by number."""
    order = {"complete": 0, "pruned": 1, "running": 2, "failed": 3}
    return sorted(trials, key=lambda trial: (order[trial.state], -(trial.score or 0.0), trial.number))


def trials_page(trials: Sequence[Trial], *, name: str = "", score_name: str = "accuracy", about: str = "") -> str:
    """The page as text: one self-contained HTML file.

    Args:
        trials: in any order.
        name: of the model searched for, in the page's head.
        score_name: what the score is, in words.
        about: a sentence on how trials were judged (on which items).
    """
    from tasks.plots.page import render

    context = {"trials": best_first(trials), "name": name, "score_name": score_name, "about": about}
    return render("tune.html.j2", None, context, {})
