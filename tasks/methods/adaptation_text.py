"""What adapt says of what it learned: the curves that `dvc plots` draws, and a line for the run's log."""

from __future__ import annotations

import csv
import io

from tasks.plots.number_text import counted_text
from tasks.plots.probe_comparison import judged_text, no_better_text
from tasks.reports import AdaptationReport


def learning_curves(report: AdaptationReport) -> str:
    """One row per epoch as CSV; of a probe alone one row, its out-of-fold figures as epoch 0."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["epoch", "rate", "training_loss", "loss", "accuracy"])
    if report.training is None:
        writer.writerow([0, 0, "", report.out_of_fold_loss, report.out_of_fold_accuracy])
    for score in report.training.epochs if report.training else []:
        writer.writerow([score.epoch, score.rate, score.training_loss, score.loss, score.accuracy])
    return text.getvalue()


def told(report: AdaptationReport) -> str:
    """What was learned, in a line."""
    training = report.training
    if training is None:
        return _probe_text(report)
    if report.adapted_graph_sha256 is None:
        return f"training {no_better_text(training)}; the linear probe is kept: {_probe_text(report)}"
    text = f"{report.method} to epoch {training.best_epoch} on {counted_text(report.fitted_items, 'item')}"
    against = training.against_probe
    if against is None:
        return f"{text}, which no item could be held out to judge"
    accuracies = f"accuracy {against.accuracy:.3f} (probe {against.probe_accuracy:.3f})"
    return f"{text}, {accuracies} on {judged_text(training)}"


def _probe_text(report: AdaptationReport) -> str:
    seen = "" if report.out_of_fold_accuracy is None else f", out-of-fold accuracy {report.out_of_fold_accuracy:.3f}"
    items = counted_text(report.fitted_items, "item")
    return f"{report.head} head on {items}, strength {report.strength:.3g}{seen}"
