"""The trials of a search as text, as rows for Prefect and as a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import sqrt
from typing import Any

from flows.result import log_of
from flows.tune_conclusion import MORE_TIME
from tasks.errors import counted
from tasks.log_lines import LogLine
from tasks.plots.trial import Trial
from tasks.reports.trials import TrialRecord, TuneReport

SHOWN = 20


def trial_line(settings: Mapping[str, Any], present: Mapping[str, Any]) -> str:
    """What a trial tries, as far as it differs from params.yaml."""
    changed = [f"{name}={_value(value)}" for name, value in settings.items() if present.get(name) != value]
    return ", ".join(changed) or "as params.yaml says"


def trial_rows(trials: Sequence[TrialRecord]) -> list[dict[str, Any]]:
    """One row per trial, in the order given."""
    return [
        {
            "trial": trial.number,
            "state": trial.state,
            "accuracy": "" if trial.accuracy is None else round(trial.accuracy, 4),
            "loss": "" if trial.loss is None else round(trial.loss, 4),
            "epochs": trial.epochs or "",
            "seconds": "" if trial.seconds is None else f"{trial.seconds:.1f}",
            **{name: _value(value) for name, value in trial.settings.items()},
        }
        for trial in trials
    ]


def table_text(trials: Sequence[TrialRecord]) -> str:
    """The first trials as a table for a terminal; settings that are the same in all are left out."""
    rows = trial_rows(trials[:SHOWN])
    names = list(dict.fromkeys(name for row in rows for name in row))
    fixed = ("trial", "state", "accuracy", "loss")
    kept = [name for name in names if name in fixed or len({str(row.get(name, "")) for row in rows}) > 1]
    cells = [kept] + [[_cell(row.get(name, "")) for name in kept] for row in rows]
    widths = [max(len(line[column]) for line in cells) for column in range(len(kept))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]
    more = [f"and {len(trials) - SHOWN} more (reports/tune.json)"] if len(trials) > SHOWN else []
    return "\n".join([*lines, *more])


def standard_error(accuracy: float, items: int) -> float:
    """Of an accuracy measured on so many items.

    >>> standard_error(0.5, 100)
    0.05
    """
    return sqrt(accuracy * (1.0 - accuracy) / max(1, items))


def about(report: TuneReport) -> str:
    """How trials were judged, and what the linear probe scores on the same items."""
    by = {"validation": "on the validation side", "cross_validation": "out of fold, on the train and validation sides"}
    where = by.get(report.judged_by or "", "without test items")
    items = f"{report.judged_items} items, none of the test set"
    text = f"Judged {where}: {items}; between equal accuracies the lower loss counts."
    if report.probe_accuracy is None:
        return text
    return (
        f"{text} The linear probe on these items: accuracy {report.probe_accuracy:.4f}, loss {report.probe_loss:.4f}."
    )


def summary(report: TuneReport) -> str:
    """A few lines for a person: the table, what was judged, what is best, what became of it."""
    lines = [table_text(report.trials)] if report.trials else []
    if report.state != "done":
        ending = f"{report.state} in {report.stopped_in or 'preparation'}; log: {log_of(report.run_id)}"
        return "\n".join([*lines, *(f"  - {reason}" for reason in report.reasons), ending])
    by_number = {trial.number: trial for trial in report.trials}
    best = by_number[report.best if report.best is not None else -1]
    present = by_number.get(report.present if report.present is not None else -1)
    lines += [about(report), f"{counted(report.tried, 'trial')} in this run; it ended because {report.ended}"]
    lines.append(_verdict(report, best, present))
    if report.page:
        lines.append(report.page)
    return "\n".join(lines)


def _verdict(report: TuneReport, best: TrialRecord, present: TrialRecord | None) -> str:
    if not report.changes and present is None:
        return f"what params.yaml says was not judged yet, so it stays as it is; {MORE_TIME}"
    if not report.changes:
        return "nothing is better than what params.yaml says; it stays as it is"
    error = standard_error(best.accuracy or 0.0, report.judged_items)
    gained = ""
    if present is not None and best.accuracy is not None and present.accuracy is not None:
        gained = f" ({best.accuracy - present.accuracy:+.4f} over params.yaml; one standard error is {error:.4f})"
    done = (
        "params.yaml has its settings now; `graft adapt` trains by them"
        if report.written
        else "params.yaml was left as it is (--dry-run)"
    )
    return f"best: trial {best.number}, accuracy {best.accuracy:.4f}, loss {best.loss:.4f}{gained}; {done}"


def closing(report: TuneReport) -> LogLine:
    """The last line of a search's log."""
    if report.state == "done":
        return LogLine(f"search done: best is trial {report.best}; {report.ended}")
    level = "error" if report.state == "failed" else "warning"
    return LogLine(f"search {report.state}: {'; '.join(report.reasons)}", level)


def page_trials(trials: Sequence[TrialRecord]) -> list[Trial]:
    """The trials as the page takes them."""
    return [
        Trial(
            number=trial.number,
            state=trial.state,
            score=trial.score,
            params={f"adapt.method.{name}": value for name, value in trial.settings.items()},
            epochs=trial.epochs,
            seconds=trial.seconds,
        )
        for trial in trials
    ]


def _value(value: Any) -> Any:
    return f"{value:.4g}" if isinstance(value, float) else value


def _cell(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) and abs(value) < 10 else str(value)
