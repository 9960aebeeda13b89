"""What a person reads of a search: the table, the verdict, and the page."""

from __future__ import annotations

from typing import Any

import pytest

from flows.tune_text import closing, page_trials, summary, table_text, trial_line, trial_rows
from tasks.plots.tune_page import trials_page
from tasks.reports.trials import TrialRecord, TuneReport, trial_score

PRESENT = {"learning_rate": 0.001, "blocks": 4}


def complete(number: int, accuracy: float, loss: float, **settings: Any) -> TrialRecord:
    return TrialRecord(
        number=number,
        state="complete",
        settings={**PRESENT, **settings},
        score=trial_score(accuracy, loss),
        accuracy=accuracy,
        loss=loss,
        epochs=12,
        best_epoch=9,
        seconds=12.345,
        as_they_are=not settings,
    )


TRIALS = [
    complete(2, 0.91, 0.3, learning_rate=0.0031),
    complete(0, 0.9, 0.35),
    TrialRecord(
        number=3, state="pruned", settings={**PRESENT, "blocks": "all"}, score=0.5, accuracy=0.5, loss=1.0, epochs=4
    ),
    TrialRecord(number=4, state="unfinished", settings={**PRESENT, "blocks": 1}),
    TrialRecord(number=1, state="failed", settings={**PRESENT, "blocks": 9}, reason="no such block"),
]


def report(**changes: Any) -> TuneReport:
    fields = {
        "run_id": "r",
        "state": "done",
        "method": "fine_tune",
        "judged_by": "cross_validation",
        "judged_items": 400,
        "probe_accuracy": 0.88,
        "probe_loss": 0.4,
        "trials": TRIALS,
        "tried": 3,
        "present": 0,
        "best": 2,
        "changes": {"adapt.method.learning_rate": 0.0031},
        "ended": "the budget is used up",
        "page": "reports/tune.html",
    }
    return TuneReport.model_validate({**fields, **changes})


def test_a_trial_is_told_by_what_it_changes() -> None:
    assert trial_line(PRESENT, PRESENT) == "as params.yaml says"
    assert trial_line({"learning_rate": 0.0031, "blocks": "all"}, PRESENT) == "learning_rate=0.0031, blocks=all"


def test_the_table_is_in_the_order_given_and_leaves_out_what_all_share() -> None:
    lines = [line.split() for line in table_text(TRIALS).splitlines()]
    assert lines[0] == ["trial", "state", "accuracy", "loss", "epochs", "seconds", "learning_rate", "blocks"]
    assert lines[1] == ["2", "complete", "0.9100", "0.3000", "12", "12.3", "0.0031", "4"]
    assert [line[0] for line in lines[1:]] == ["2", "0", "3", "4", "1"]
    assert "learning_rate" not in table_text(TRIALS[1:])


def test_the_table_of_many_trials_names_where_the_others_are() -> None:
    many = [complete(number, 0.5, 1.0, blocks=number) for number in range(25)]
    assert table_text(many).splitlines()[-1] == "and 5 more (reports/tune.json)"
    assert len(trial_rows(many)) == 25


def test_the_summary_says_what_was_judged_what_is_best_and_what_became_of_it() -> None:
    text = summary(report(written=True))
    assert "out of fold, on the train and validation sides: 400 items, none of the test set" in text
    assert "The linear probe on these items: accuracy 0.8800, loss 0.4000." in text
    best = "best: trial 2, accuracy 0.9100, loss 0.3000 (+0.0100 over params.yaml; one standard error is 0.0143)"
    assert f"{best}; params.yaml has its settings now; `graft adapt` trains by them" in text
    assert "params.yaml was left as it is (--dry-run)" in summary(report())
    assert text.splitlines()[-1] == "reports/tune.html"


def test_where_nothing_is_better_the_summary_says_so() -> None:
    assert "nothing is better than what params.yaml says; it stays as it is" in summary(report(best=0, changes={}))


def test_where_params_yaml_was_not_judged_the_summary_says_so() -> None:
    text = summary(report(present=None, changes={}))
    assert "what params.yaml says was not judged yet, so it stays as it is; give it more time with --budget" in text


@pytest.mark.parametrize(("state", "level"), [("failed", "error"), ("refused", "warning")])
def test_a_search_that_found_nothing_names_why(state: str, level: str) -> None:
    found = report(state=state, reasons=["no trial came to its end"], stopped_in="trials", best=None, trials=[])
    assert summary(found).splitlines() == [
        "  - no trial came to its end",
        f"{state} in trials; log: .graft/runs/r.log.jsonl",
    ]
    assert (closing(found).level, closing(found).message) == (level, f"search {state}: no trial came to its end")


def test_the_page_shows_every_trial_and_marks_the_best_by_accuracy_then_loss() -> None:
    tied = [complete(0, 0.9, 0.5), complete(1, 0.9, 0.2, blocks=2), complete(2, 0.8, 0.1, blocks=1)]
    page = trials_page(page_trials([*tied, *TRIALS[2:]]), name="fine_tune", about="Judged out of fold.")
    assert "Judged out of fold." in page
    best = max(page_trials(tied), key=lambda trial: trial.score or 0.0)
    assert best.number == 1
    assert [trial.state for trial in page_trials(TRIALS)] == ["complete", "complete", "pruned", "unfinished", "failed"]
    assert "blocks" in page
    for state in ("complete", "pruned", "unfinished", "failed"):
        assert state in page
