"""Which settings a search leaves in params.yaml."""

from __future__ import annotations

from typing import Any

from flows.tune_conclusion import MORE_TIME, concluded
from tasks.reports.trials import TrialOutcome, TrialRecord, TuneReport, trial_score

EMPTY = TuneReport(run_id="r", state="failed", method="fine_tune")
PRESENT = {"rate": 0.1, "depth": 2}
JUDGED = TrialOutcome(
    accuracy=0.9, loss=0.2, items=50, judged_by="validation", epochs=3, probe_accuracy=0.7, probe_loss=0.6
)


def trial(number: int, accuracy: float, loss: float = 0.5, **settings: Any) -> TrialRecord:
    score = trial_score(accuracy, loss)
    return TrialRecord(number=number, state="complete", settings={**PRESENT, **settings}, score=score)


def test_the_best_trial_changes_what_it_sets_otherwise_and_nothing_else() -> None:
    found = concluded(EMPTY, [trial(3, 0.9, depth="all"), trial(0, 0.8)], JUDGED, PRESENT, "the budget is used up")
    assert (found.state, found.best, found.present) == ("done", 3, 0)
    assert found.changes == {"adapt.method.depth": "all"}
    assert (found.judged_by, found.judged_items, found.probe_accuracy, found.probe_loss) == ("validation", 50, 0.7, 0.6)
    assert found.ended == "the budget is used up"
    assert not found.written


def test_between_equal_accuracies_the_lower_loss_is_better() -> None:
    found = concluded(EMPTY, [trial(1, 0.8, 0.4, depth=1), trial(0, 0.8, 0.5)], JUDGED, PRESENT, "")
    assert found.changes == {"adapt.method.depth": 1}


def test_what_is_no_better_changes_nothing() -> None:
    for trials in ([trial(0, 0.8), trial(1, 0.8, depth=1)], [trial(1, 0.8, depth=1), trial(2, 0.8)], [trial(0, 0.8)]):
        assert concluded(EMPTY, trials, JUDGED, PRESENT, "").changes == {}


def test_a_best_trial_counts_where_params_yaml_could_not_be_judged() -> None:
    failed = TrialRecord(number=0, state="failed", settings=PRESENT, reason="no memory")
    found = concluded(EMPTY, [trial(1, 0.5, depth=1), failed], JUDGED, PRESENT, "", "no memory")
    assert (found.state, found.present, found.changes) == ("done", None, {"adapt.method.depth": 1})


def test_before_params_yaml_was_judged_nothing_changes_it() -> None:
    for unfinished in ([], [TrialRecord(number=2, state="unfinished", settings=PRESENT)]):
        found = concluded(EMPTY, [trial(1, 0.9, depth=1), *unfinished], JUDGED, PRESENT, "")
        assert (found.state, found.best, found.present, found.changes) == ("done", 1, None, {})


def test_a_pruned_trial_is_never_the_best() -> None:
    ahead = TrialRecord(number=1, state="pruned", settings={"rate": 1.0, "depth": 2}, score=0.99)
    assert concluded(EMPTY, [trial(0, 0.5), ahead], JUDGED, PRESENT, "").best == 0


def test_without_a_complete_trial_the_search_failed_and_names_the_mend() -> None:
    stopped = TrialRecord(number=0, state="unfinished", settings=PRESENT)
    found = concluded(EMPTY, [stopped], None, PRESENT, "the budget is used up")
    assert (found.state, found.stopped_in) == ("failed", "trials")
    assert found.reasons == ["no trial came to its end: the budget is used up", MORE_TIME]
    failed = TrialRecord(number=0, state="failed", settings=PRESENT, reason="diverged")
    found = concluded(EMPTY, [failed], None, PRESENT, "3 trials failed in a row", "diverged")
    assert found.reasons == ["no trial came to its end: 3 trials failed in a row", "diverged"]
