"""How a training came out against the linear probe, in words: for the run's log, the gate, the page and the card."""

from __future__ import annotations

from tasks.plots.number_text import counted_text, ratio_text, signed_text
from tasks.reports.training import ProbeComparison, TrainingReport

JUDGES = {"validation": "validation", "cross_validation": "cross-validated", "nothing": ""}
"""What stands in front of `items` where a training run was judged."""


def judged_text(training: TrainingReport) -> str:
    """On what a run was judged, such as `244 cross-validated items`.

    >>> from tasks.reports import TrainingReport
    >>> judged_text(TrainingReport.model_construct(judged_by="validation", judged_items=1))
    '1 validation item'
    """
    return counted_text(training.judged_items, f"{JUDGES[training.judged_by]} item".strip())


def fell_behind(against: ProbeComparison) -> bool:
    """Whether training was no better than the probe: less accurate on the judged items, or its gain in log-loss no more
    than the standard error of that gain. The epoch was chosen on the same items, so a gain within chance is none."""
    if against.accuracy < against.probe_accuracy:
        return True
    if against.loss_gain is None or against.loss_gain_error is None:
        return against.accuracy == against.probe_accuracy and against.loss > against.probe_loss
    return against.loss_gain <= against.loss_gain_error


def no_better_text(training: TrainingReport) -> str:
    """Why the probe stands in the trained network's place, after its name; empty where it does not have to.

    >>> against = ProbeComparison(items=40, accuracy=0.9, loss=0.4, probe_accuracy=0.9, probe_loss=0.3)
    >>> no_better_text(
    ...     TrainingReport.model_construct(judged_by="validation", judged_items=40, against_probe=against)
    ... )
    'was no better than the linear probe (accuracy equal, log loss 0.400 against 0.300 on 40 validation items)'
    """
    against = training.against_probe
    if against is None:
        return "could not be judged, as too few items can be held out"
    if not fell_behind(against):
        return ""
    if against.accuracy < against.probe_accuracy:
        ended, figures = "ended below", f"{ratio_text(against.accuracy)} against {ratio_text(against.probe_accuracy)}"
    else:
        same = (
            "equal"
            if against.accuracy == against.probe_accuracy
            else (f"{ratio_text(against.accuracy)} against {ratio_text(against.probe_accuracy)}")
        )
        ended, figures = "was no better than", f"accuracy {same}, {_loss_text(against)}"
    return f"{ended} the linear probe ({figures} on {judged_text(training)})"


def _loss_text(against: ProbeComparison) -> str:
    if against.loss_gain is None or against.loss_gain_error is None:
        return f"log loss {ratio_text(against.loss)} against {ratio_text(against.probe_loss)}"
    gain, error = signed_text(against.loss_gain), ratio_text(against.loss_gain_error)
    return f"calibrated log loss better by {gain}, within its standard error of {error}"
