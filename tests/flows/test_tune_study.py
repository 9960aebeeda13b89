"""The trials of a search: the order they come in, what an interruption leaves, and when a trial is given up."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from math import log
from pathlib import Path
from typing import Any

import pytest

from flows.tune_space import Choice, Range, Space
from flows.tune_study import Study
from tasks.errors import WorkspaceError
from tasks.reports.trials import TrialEpoch, TrialOutcome, TrialRecord, trial_score

SMALL: Space = {"head": Choice(("logistic", "ridge")), "class_weight": Choice(("none", "balanced"))}
LARGE: Space = {"rate": Range(1e-4, 1e-1, log=True), "drop": Range(0.0, 0.5, step=0.1), "depth": Choice((1, 2, "all"))}
PRESENT = {"rate": 0.001, "drop": 0.0, "depth": 2}
Open = Callable[[Space], Study]


@pytest.fixture(scope="module")
def empty_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty study's file: Optuna takes seconds to lay out its tables."""
    file = tmp_path_factory.mktemp("study") / "empty.db"
    Study(file, LARGE)
    return file


@pytest.fixture
def file(empty_study: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(empty_study, tmp_path / "study.db"))


def outcome(accuracy: float, loss: float = 0.5) -> TrialOutcome:
    return TrialOutcome(accuracy=accuracy, loss=loss, items=100, judged_by="validation", epochs=12, best_epoch=9)


def quality(settings: dict[str, Any]) -> float:
    """Best at a rate of 0.01."""
    return 0.9 - 0.1 * abs(log(settings["rate"] / 0.01)) - 0.1 * settings["drop"]


def begun(study: Study) -> TrialRecord:
    trial = study.next()
    assert trial is not None
    return trial


def search(study: Study, count: int) -> list[dict[str, Any]]:
    """Complete so many trials; returns what they tried."""
    tried = []
    for _ in range(count):
        trial = begun(study)
        tried.append(trial.settings)
        study.complete(outcome(quality(trial.settings)), 1.0)
    return tried


def epochs(study: Study, accuracy: float, count: int = 12, trainings: int = 1) -> int:
    """Epochs until the study gives the trial up; one more than there are where it does not."""
    for epoch in range(1, count + 1):
        if study.reached(TrialEpoch(epoch=epoch, epochs=count, trainings=trainings, accuracy=accuracy, loss=1.0)):
            return epoch
    return count + 1


def test_accuracy_comes_first_and_loss_between_equals() -> None:
    ordered = [(0.5, 9.0), (0.9, 0.7), (0.9, 0.6), (0.90001, 50.0), (1.0, 0.0)]
    scores = [trial_score(*figures) for figures in ordered]
    assert scores == sorted(scores)
    assert len(set(scores)) == len(scores)
    assert [round(score, 5) for score in scores] == [accuracy for accuracy, _ in ordered]
    assert trial_score(0.0, 9.0) == 0.0


def test_the_first_trial_is_what_params_yaml_says(file: Path) -> None:
    study = Study(file, LARGE)
    study.take_up(PRESENT)
    first = begun(study)
    assert (first.number, first.settings, first.as_they_are) == (0, PRESENT, True)


def test_present_settings_outside_the_space_are_tried_as_they_are(file: Path) -> None:
    study, odd = Study(file, LARGE), {"rate": 5.0, "drop": 0.45, "depth": 7}
    study.take_up(odd)
    assert begun(study).settings == odd
    study.complete(outcome(0.99), 1.0)
    assert study.trials()[0].settings == odd
    assert all(dimension.holds(begun(study).settings[name]) for name, dimension in LARGE.items())


def test_what_is_drawn_lies_in_the_space_and_has_few_digits(file: Path) -> None:
    study = Study(file, LARGE)
    study.take_up(PRESENT)
    for settings in search(study, 9):
        assert all(LARGE[name].holds(value) for name, value in settings.items())
        assert settings["rate"] == float(f"{settings['rate']:.2g}")
        assert settings["drop"] in (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)


def test_every_combination_of_a_small_space_is_tried_once_and_then_there_is_nothing_left(file: Path) -> None:
    study = Study(file, SMALL)
    study.take_up({"head": "ridge", "class_weight": "none"})
    tried = []
    while (trial := study.next()) is not None:
        tried.append(tuple(trial.settings.values()))
        study.complete(outcome(0.5), 1.0)
    assert tried[0] == ("ridge", "none")
    assert sorted(tried) == sorted((head, weight) for head in ("logistic", "ridge") for weight in ("none", "balanced"))
    again = Study(file, SMALL)
    again.take_up({"head": "ridge", "class_weight": "none"})
    assert again.next() is None


def test_a_search_learns_from_its_trials(file: Path) -> None:
    study = Study(file, LARGE)
    study.take_up(PRESENT)
    tried = search(study, 24)
    early, late = tried[1:6], tried[-8:]
    assert sum(map(quality, late)) / len(late) > sum(map(quality, early)) / len(early)


def test_a_search_taken_up_again_goes_on_as_an_undisturbed_one_would(empty_study: Path, tmp_path: Path) -> None:
    whole, parts = (Path(shutil.copy(empty_study, tmp_path / name)) for name in ("whole.db", "parts.db"))
    study = Study(whole, LARGE)
    study.take_up(PRESENT)
    undisturbed = search(study, 9)
    in_parts = []
    for _ in range(3):
        study = Study(parts, LARGE)
        study.take_up(PRESENT)
        in_parts += search(study, 3)
        study.next()  # And is killed.
    assert in_parts == undisturbed


def test_a_trial_that_a_killed_run_left_is_tried_again_first(file: Path) -> None:
    study = Study(file, LARGE)
    assert study.take_up(PRESENT) == 0
    search(study, 2)
    lost = begun(study)
    study.reached(TrialEpoch(epoch=6, epochs=12, accuracy=0.4, loss=1.0))
    del study
    again = Study(file, LARGE)
    assert again.take_up(PRESENT) == 1
    assert [(trial.state, trial.settings) for trial in again.trials() if trial.state == "unfinished"] == [
        ("unfinished", lost.settings)
    ]
    assert again.finished() == 2
    assert begun(again).settings == lost.settings
    again.complete(outcome(0.7), 1.0)
    assert [trial.settings for trial in again.trials()].count(lost.settings) == 1
    assert begun(again).settings != lost.settings


def test_a_kill_before_anything_was_chosen_leaves_nothing(file: Path) -> None:
    study = Study(file, LARGE)
    study.take_up(PRESENT)
    search(study, 1)
    study._study.ask()
    again = Study(file, LARGE)
    again.take_up(PRESENT)
    assert [trial.settings for trial in again.trials()] == [PRESENT]


def test_a_kill_while_a_trial_begins_again_repeats_it_once(file: Path) -> None:
    study = Study(file, LARGE)
    study.take_up(PRESENT)
    search(study, 1)
    lost = begun(study)
    study.take_up(PRESENT)
    study._study.enqueue_trial({}, user_attrs={"settings": lost.settings, "again": lost.number})
    again = Study(file, LARGE)
    again.take_up(PRESENT)
    assert [trial.settings for trial in again.trials()] == [PRESENT, lost.settings]
    search(again, 1)
    assert [(trial.state, trial.settings) for trial in again.trials()].count(("complete", lost.settings)) == 1


def test_what_params_yaml_says_now_comes_before_what_was_left(file: Path) -> None:
    study, now = Study(file, LARGE), {**PRESENT, "rate": 0.002}
    study.take_up(PRESENT)
    begun(study)
    again = Study(file, LARGE)
    assert again.take_up(now) == 1
    assert not again.settled(now)
    assert search(again, 2) == [now, PRESENT]
    assert again.settled(now)
    assert [trial.state for trial in again.trials()] == ["complete", "complete"]


def test_settings_that_were_given_up_are_judged_to_the_end_once_params_yaml_says_them(file: Path) -> None:
    study = Study(file, LARGE)
    study.take_up(PRESENT)
    search(study, 1)
    behind = begun(study).settings
    study.pruned(1.0)
    again = Study(file, LARGE)
    again.take_up(behind)
    assert not again.settled(behind)
    first = begun(again)
    assert (first.settings, first.as_they_are) == (behind, True)


def test_a_failed_trial_is_not_tried_again_but_what_params_yaml_says_is(file: Path) -> None:
    study = Study(file, SMALL)
    study.take_up({"head": "ridge", "class_weight": "none"})
    for _ in range(4):
        begun(study)
        study.failed("no memory", 1.0)
    assert study.next() is None
    assert {trial.reason for trial in study.trials()} == {"no memory"}
    again = Study(file, SMALL)
    again.take_up({"head": "logistic", "class_weight": "none"})
    assert begun(again).settings == {"head": "logistic", "class_weight": "none"}
    again.complete(outcome(0.6), 1.0)
    assert again.next() is None
    assert [trial.state for trial in again.trials()] == ["complete", "failed", "failed", "failed"]


def reference(study: Study, count: int = 5) -> None:
    """Trials that end well, each at 0.8 after every epoch."""
    study.take_up(PRESENT)
    for _ in range(count):
        begun(study)
        assert epochs(study, 0.8) == 13
        study.complete(outcome(0.8), 1.0)


def test_a_trial_that_falls_behind_is_given_up_early_and_a_good_one_is_not(file: Path) -> None:
    study = Study(file, LARGE)
    reference(study)
    begun(study)
    assert epochs(study, 0.3) == 4, "a third of the epochs: the second sixth"
    study.pruned(2.0)
    begun(study)
    assert epochs(study, 0.9) == 13
    study.complete(outcome(0.9), 1.0)
    states = [(trial.state, trial.accuracy, trial.epochs) for trial in study.trials()]
    assert states[0] == ("complete", 0.9, 12)
    assert states[-1] == ("pruned", 0.3, 4)


def test_trials_of_other_lengths_are_compared_at_the_same_share_of_their_epochs(file: Path) -> None:
    study = Study(file, LARGE)
    reference(study)
    begun(study)
    assert epochs(study, 0.3, count=24) == 8
    study.pruned(1.0)
    begun(study)
    assert epochs(study, 0.3, count=6) == 2


def test_the_last_epoch_gives_nothing_up_unless_more_folds_follow(file: Path) -> None:
    study = Study(file, LARGE)
    reference(study)
    begun(study)
    last = {"epoch": 12, "epochs": 12, "accuracy": 0.3, "loss": 1.0}
    assert not study.reached(TrialEpoch(**last))
    study.complete(outcome(0.3), 1.0)
    begun(study)
    assert study.reached(TrialEpoch(**last, trainings=3))


def test_what_params_yaml_says_is_never_given_up(file: Path) -> None:
    study = Study(file, LARGE)
    reference(study)
    study.take_up({**PRESENT, "rate": 0.0002})
    assert begun(study).as_they_are
    assert epochs(study, 0.1) == 13


def test_a_file_that_is_no_search_is_named_with_the_mend(tmp_path: Path) -> None:
    file = tmp_path / "study.db"
    file.write_bytes(b"not a database, but long enough to be looked at as one" * 10)
    with pytest.raises(WorkspaceError, match=r"study\.db cannot be read or written as a search .*delete the file"):
        Study(file, LARGE)
