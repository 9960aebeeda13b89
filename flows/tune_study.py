"""The trials of one search, kept by Optuna in SQLite: what was tried, what is to be tried next. Imports Optuna."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.exceptions import OptunaError
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from flows.tune_space import Choice, Dimension, Space, combinations
from tasks.errors import WorkspaceError
from tasks.reports.trials import TrialEpoch, TrialOutcome, TrialRecord, trial_score

STUDY = "tune"
SEED = 0
SIXTHS = 6
"""A trial is compared with others after every sixth of its epochs, however many it has."""
STARTUP_TRIALS = 5
"""So many are drawn at random before the sampler learns from them, and end before any is pruned."""
SETTINGS, FOUND = "settings", "found"
"""Attributes of a trial: what it tries, and its figures."""
WRITTEN_DIGITS = 2
STATES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "unfinished",
}


@dataclass(frozen=True)
class _Due:
    """Settings to be tried before any are drawn; `again`: the number of an attempt that did not come to its end."""

    settings: dict[str, Any]
    again: int | None = None
    as_they_are: bool = False


class Study:
    """One search over settings; the caller holds the workspace's lock, so nobody else works on it."""

    def __init__(self, file: Path, space: Space) -> None:
        """Open the search, or begin it.

        Raises:
            WorkspaceError: the file is none that this Optuna reads.
        """
        self.file, self.space = file, space
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        file.parent.mkdir(parents=True, exist_ok=True)
        pruner = optuna.pruners.MedianPruner(n_startup_trials=STARTUP_TRIALS, n_warmup_steps=2)
        with self._readable():
            self._study = optuna.create_study(
                storage=f"sqlite:///{file}", study_name=STUDY, direction="maximize", load_if_exists=True, pruner=pruner
            )
        self._queue: list[_Due] = []
        self._trial: Trial | None = None
        self._sixth = 0

    def take_up(self, present: Mapping[str, Any]) -> int:
        """Put first what params.yaml says, unless that was judged, then what an earlier run left unfinished.

        Returns:
            how many trials were left unfinished.
        """
        with self._readable():
            running = self._study.get_trials(states=[TrialState.RUNNING])
            earlier = [trial for trial in self._standing() if trial.user_attrs[SETTINGS] == present]
            waiting = [trial for trial in running if trial.user_attrs.get(SETTINGS) not in (None, present)]
        self._queue = [_Due(trial.user_attrs[SETTINGS], trial.number) for trial in waiting]
        if all(trial.state != TrialState.COMPLETE for trial in earlier):
            again = earlier[-1].number if earlier else None
            self._queue.insert(0, _Due(dict(present), again, as_they_are=True))
        return len(running)

    def next(self) -> TrialRecord | None:
        """Begin the next trial; None where the whole space was tried."""
        with self._readable():
            if self._queue:
                self._enqueue(self._queue.pop(0))
            elif not self._study.get_trials(states=[TrialState.WAITING]) and (points := combinations(self.space)):
                tried = [trial.user_attrs[SETTINGS] for trial in self._standing()]
                fresh = [point for point in points if point not in tried]
                if not fresh:
                    return None
                self._enqueue(_Due(fresh[0]))
            # A seed of its own for each trial: an interrupted search goes on as an undisturbed one would.
            seed = SEED + len(self._standing())
            self._study.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=STARTUP_TRIALS)
            self._trial, self._sixth = self._study.ask(), 0
            settings = self._settings(self._trial)
        return TrialRecord(
            number=self._trial.number,
            state="unfinished",
            settings=settings,
            as_they_are=bool(self._trial.user_attrs.get("as_they_are")),
        )

    def reached(self, epoch: TrialEpoch) -> bool:
        """Note an epoch's figures; True: the trial is worse than half of the others were by then, and should end."""
        trial = self._current()
        sixth = SIXTHS * epoch.epoch // max(1, epoch.epochs)
        if sixth <= self._sixth:
            return False
        self._sixth = sixth
        with self._readable():
            trial.report(trial_score(epoch.accuracy, epoch.loss), sixth)
            self._note({"accuracy": epoch.accuracy, "loss": epoch.loss, "epochs": epoch.epoch})
            over = sixth == SIXTHS and epoch.trainings == 1
            return not over and not trial.user_attrs.get("as_they_are") and trial.should_prune()

    def complete(self, outcome: TrialOutcome, seconds: float) -> None:
        """The trial came to its end."""
        with self._readable():
            self._note({**outcome.model_dump(exclude_none=True), "seconds": round(seconds, 1)})
            score = trial_score(outcome.accuracy, outcome.loss)
            self._study.tell(self._current(), score)

    def pruned(self, seconds: float) -> None:
        """The trial was ended because it was behind."""
        with self._readable():
            self._note({"seconds": round(seconds, 1)})
            self._study.tell(self._current(), state=TrialState.PRUNED)

    def failed(self, reason: str, seconds: float) -> None:
        """The trial cannot be judged; it is not tried again."""
        with self._readable():
            self._note({"reason": reason, "seconds": round(seconds, 1)})
            self._study.tell(self._current(), state=TrialState.FAIL)

    def trials(self) -> list[TrialRecord]:
        """Every trial, best first; of one that was stopped only the attempt after it, unfinished until that ends."""
        with self._readable():
            records = [_record(trial) for trial in self._standing()]
        order = {"complete": 0, "pruned": 1, "unfinished": 2, "failed": 3}
        return sorted(records, key=lambda one: (order[one.state], -(one.score or 0.0), one.number))

    def judged(self) -> TrialOutcome | None:
        """The outcome of any complete trial: what does not depend on the settings is the same in all."""
        with self._readable():
            done = self._study.get_trials(states=[TrialState.COMPLETE])
        return TrialOutcome.model_validate(_of(done[0].user_attrs[FOUND], TrialOutcome.model_fields)) if done else None

    def settled(self, settings: Mapping[str, Any]) -> bool:
        """Whether these settings were judged, or failed."""
        return any(trial.settings == settings and trial.state in ("complete", "failed") for trial in self.trials())

    def finished(self) -> int:
        """How many trials are complete, pruned or failed for good."""
        return sum(trial.state != "unfinished" for trial in self.trials())

    def _current(self) -> Trial:
        if self._trial is None:
            raise ValueError("no trial was begun")
        return self._trial

    def _standing(self) -> list[FrozenTrial]:
        """Every trial in order, without those that are tried again, or were killed before anything was chosen."""
        found = self._study.get_trials()
        over = {trial.user_attrs.get("again") for trial in found}
        return [trial for trial in found if trial.number not in over and SETTINGS in trial.user_attrs]

    def _enqueue(self, due: _Due) -> None:
        """Have `ask` give these settings; an earlier attempt, which never came to its end, is closed."""
        within = {name: value for name, value in due.settings.items() if self.space[name].holds(value)}
        earlier = [trial for trial in self._study.get_trials() if trial.number == due.again]
        # What was drawn has more digits than what was tried, and the sampler learns from what was drawn.
        drawn = {name: value for trial in earlier for name, value in trial.params.items() if name in within}
        attributes = {SETTINGS: due.settings, "as_they_are": due.as_they_are, "again": due.again}
        self._study.enqueue_trial({**within, **drawn}, user_attrs=attributes)
        for trial in earlier:
            if trial.state == TrialState.RUNNING:
                self._study.tell(trial.number, state=TrialState.FAIL)

    def _settings(self, trial: Trial) -> dict[str, Any]:
        """What the trial tries, kept with it for another attempt; values outside the space are not sampled."""
        fixed: dict[str, Any] = trial.user_attrs.get(SETTINGS, {})
        drawn: dict[str, Any] = {}
        for name, dimension in self.space.items():
            if name not in fixed or dimension.holds(fixed[name]):
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    drawn[name] = _drawn(trial, name, dimension)
        if not fixed:
            trial.set_user_attr(SETTINGS, drawn)
        return fixed or drawn

    def _note(self, values: Mapping[str, Any]) -> None:
        """Keep figures with the trial, beside those that it has."""
        trial = self._current()
        trial.set_user_attr(FOUND, {**trial.user_attrs.get(FOUND, {}), **values})

    @contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, OptunaError, RuntimeError) as err:
            raise WorkspaceError(
                f"{self.file} cannot be read or written as a search ({str(err).splitlines()[0]}); free the disk, or "
                "delete the file to begin anew"
            ) from err


def _distribution(dimension: Dimension) -> BaseDistribution:
    if isinstance(dimension, Choice):
        return CategoricalDistribution(dimension.values)
    return FloatDistribution(dimension.low, dimension.high, log=dimension.log, step=dimension.step)


def _drawn(trial: Trial, name: str, dimension: Dimension) -> Any:
    """A value with as few digits as a person would write."""
    if isinstance(dimension, Choice):
        return trial.suggest_categorical(name, dimension.values)
    value = trial.suggest_float(name, dimension.low, dimension.high, log=dimension.log, step=dimension.step)
    return float(f"{value:.{WRITTEN_DIGITS}g}")


def _record(trial: FrozenTrial) -> TrialRecord:
    steps, found = trial.intermediate_values, trial.user_attrs.get(FOUND, {})
    return TrialRecord(
        number=trial.number,
        state=STATES.get(trial.state, "unfinished"),
        settings=trial.user_attrs.get(SETTINGS, {}),
        as_they_are=bool(trial.user_attrs.get("as_they_are")),
        score=trial.value if trial.state == TrialState.COMPLETE else steps[max(steps)] if steps else None,
        **_of(found, ("accuracy", "loss", "epochs", "best_epoch", "seconds", "reason")),
    )


def _of(values: Mapping[str, Any], names: Any) -> dict[str, Any]:
    return {name: values[name] for name in names if name in values}
