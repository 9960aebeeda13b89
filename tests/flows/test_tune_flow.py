"""When a search ends, and what it makes of how each trial ended."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flows.tune_flow import MOST_FAILURES, Extent, Search
from flows.tune_space import Choice, Range, Space
from flows.tune_study import Study
from flows.tune_trainings import Trainings
from flows.tune_trial import TrialEnd
from tasks.params import Params
from tasks.reports.trials import TrialOutcome, TrialRecord

SPACE: Space = {"learning_rate": Range(1e-4, 1e-1, log=True)}
PRESENT = {"learning_rate": 0.001}
DONE = TrialEnd("complete", 1.0, TrialOutcome(accuracy=0.8, loss=0.5, items=10, judged_by="validation"))
FAILED, BEHIND = TrialEnd("failed", 1.0, reason="diverged"), TrialEnd("pruned", 1.0)


class Scripted(Search):
    """A search whose trials end as they are told; what would be a task run is a line of the script."""

    def __init__(
        self,
        study: Study,
        folder: Path,
        ends: list[TrialEnd],
        extent: Extent,
        present: Mapping[str, Any] = PRESENT,
    ) -> None:
        params = Params.model_validate({"flow": {"stage_timeout_seconds": 50}})
        self.run: Any = SimpleNamespace(cancelled=threading.Event(), params=params)
        self.extent, self.space, self.present, self.study = extent, SPACE, dict(present), study
        self.deadline = None if extent.seconds is None else time.monotonic() + extent.seconds
        self.trainings, self.tried, self.fault = Trainings(folder), 0, ""
        self.begun: list[TrialRecord] = []
        self._ends: Iterator[TrialEnd] = iter(ends)
        study.take_up(present)

    def _task_run(self, trial: TrialRecord) -> TrialEnd | None:
        self.begun.append(trial)
        folder = self.trainings.of(trial.settings)
        folder.mkdir(parents=True, exist_ok=True)
        end = next(self._ends)
        self._keep(end)
        return end


@pytest.fixture(scope="module")
def empty_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("study") / "empty.db"
    Study(file, SPACE)
    return file


@pytest.fixture
def study(empty_study: Path, tmp_path: Path) -> Study:
    return Study(Path(shutil.copy(empty_study, tmp_path / "study.db")), SPACE)


def states(study: Study) -> list[str]:
    return [trial.state for trial in study.trials()]


def test_a_search_ends_with_so_many_trials_in_all(study: Study, tmp_path: Path) -> None:
    first = Scripted(study, tmp_path / "trainings", [DONE, BEHIND, FAILED], Extent(None, 3))
    assert first._trials() == "3 trials stand (--trials)"
    assert (first.tried, states(study)) == (3, ["complete", "pruned", "failed"])
    more = Scripted(study, tmp_path / "trainings", [DONE, DONE], Extent(None, 5))
    assert more._trials() == "5 trials stand (--trials)"
    assert more.tried == 2


def test_what_params_yaml_says_is_tried_even_where_enough_trials_stand(study: Study, tmp_path: Path) -> None:
    Scripted(study, tmp_path / "trainings", [DONE, DONE], Extent(None, 2))._trials()
    changed = {"learning_rate": 0.05}
    search = Scripted(study, tmp_path / "trainings", [DONE, DONE], Extent(None, 2), changed)
    assert search._trials() == "2 trials stand (--trials)"
    assert [trial.settings for trial in search.begun] == [changed]


def test_a_search_ends_when_the_budget_is_used_up(study: Study, tmp_path: Path) -> None:
    class Slow(Scripted):
        def _keep(self, end: TrialEnd) -> None:
            if end.state == "time":
                self.deadline = time.monotonic()
            super()._keep(end)

    search = Slow(study, tmp_path / "trainings", [DONE, TrialEnd("time", 1.0)], Extent(5.0, None))
    assert 0.0 < search._seconds() <= 5.0
    assert search._trials() == "the budget is used up"
    assert (search.tried, states(study)) == (1, ["complete", "unfinished"])
    left = search.begun[-1].settings
    again = Scripted(study, tmp_path / "trainings", [DONE], Extent(None, 2))
    again._trials()
    assert again.begun[0].settings == left


def test_a_stage_timeout_fails_a_trial_for_good(study: Study, tmp_path: Path) -> None:
    search = Scripted(study, tmp_path / "trainings", [DONE, TrialEnd("time", 50.0)], Extent(None, 2))
    assert search._seconds() == 50.0
    search._trials()
    assert states(study) == ["complete", "failed"]
    assert search.fault == "it took longer than flow.stage_timeout_seconds allows"


def test_where_nothing_but_failures_comes_the_search_ends(study: Study, tmp_path: Path) -> None:
    search = Scripted(study, tmp_path / "trainings", [FAILED] * 9, Extent(None, 9))
    assert search._trials() == f"{MOST_FAILURES} trials failed in a row"
    assert (search.tried, search.fault) == (MOST_FAILURES, "diverged")


def test_failures_beside_a_good_trial_do_not_end_a_search(study: Study, tmp_path: Path) -> None:
    search = Scripted(study, tmp_path / "trainings", [DONE, *[FAILED] * 5], Extent(None, 6))
    assert search._trials() == "6 trials stand (--trials)"


def test_a_cancelled_run_ends_its_search_and_leaves_the_trial_for_the_next(study: Study, tmp_path: Path) -> None:
    search = Scripted(study, tmp_path / "trainings", [TrialEnd("cancelled", 1.0)], Extent(None, None))
    assert search._trials() == "the run was cancelled"
    assert states(study) == ["unfinished"]
    search.run.cancelled.set()
    assert search._trials() == "the run was cancelled"
    assert len(search.begun) == 1


def test_a_space_that_was_tried_ends_the_search(study: Study, tmp_path: Path) -> None:
    study.space = {"learning_rate": Choice((0.001, 0.01))}
    search = Scripted(study, tmp_path / "trainings", [DONE, DONE], Extent(None, None))
    assert search._trials() == "every combination was tried"
    assert search.tried == 2


def test_trainings_of_the_best_and_of_an_unfinished_trial_stay(study: Study, tmp_path: Path) -> None:
    better = TrialEnd("complete", 1.0, TrialOutcome(accuracy=0.9, loss=0.5, items=10, judged_by="validation"))
    ends = [DONE, better, BEHIND, FAILED, TrialEnd("cancelled", 1.0)]
    search = Scripted(study, tmp_path / "trainings", ends, Extent(None, None))
    search._trials()
    kept = {search.trainings.of(search.begun[number].settings).name for number in (1, 4)}
    assert {path.name for path in (tmp_path / "trainings").iterdir()} == kept
