"""Scores, confusion and verdict as markdown, for whoever shows a run's artifacts."""

from __future__ import annotations

from collections.abc import Sequence

from tasks.params import Params
from tasks.plots.block_picture import depth_text
from tasks.plots.calibration_rows import calibration_view
from tasks.plots.champion_view import NOTHING_YET, champion_view
from tasks.plots.confusion_map import classes_with_most_errors
from tasks.plots.findings import findings, method_name
from tasks.plots.number_text import count_text, interval_text, ratio_text, signed_interval_text, signed_text
from tasks.plots.page_rows import headline, rule_row
from tasks.reports import AdaptationReport, EvaluationReport, Verdict

MOST_CLASSES = 20
MOST_REASONS = 50


def metrics_table(report: EvaluationReport) -> list[dict[str, str]]:
    """One row for the model and one for each baseline: score, interval and the paired gain in accuracy."""
    model = {
        "model": "this model",
        "accuracy": ratio_text(report.accuracy.value),
        "accuracy interval": interval_text(report.accuracy),
        "macro-F1": ratio_text(report.macro_f1.value),
        "macro-F1 interval": interval_text(report.macro_f1),
        "gain of this model": "",
    }
    baselines = [
        {
            "model": baseline.name.replace("_", " "),
            "accuracy": ratio_text(baseline.accuracy.value),
            "accuracy interval": interval_text(baseline.accuracy),
            "macro-F1": ratio_text(baseline.macro_f1.value),
            "macro-F1 interval": interval_text(baseline.macro_f1),
            "gain of this model": f"{signed_text(baseline.gain.value)} ({signed_interval_text(baseline.gain)})",
        }
        for baseline in report.baselines
    ]
    return [model, *baselines]


def calibration_markdown(report: EvaluationReport) -> str:
    """What the probabilities were calibrated with, and their scores before and after; "" where nothing was measured."""
    view = calibration_view(report.calibration)
    if view is None:
        return ""
    header = ["less is better", *(["before", "interval"] if view.scaled else []), "as served", "interval"]
    rows = [[row.name, *(row.before if view.scaled else ()), *row.after] for row in view.rows]
    floor = f"A perfectly calibrated model would show an ECE of {view.floor} on as many items."
    return "\n\n".join((escaped(view.says), markdown_table(header, rows), floor))


def findings_markdown(params: Params, adaptation: AdaptationReport, evaluation: EvaluationReport) -> str:
    """What the run found, a line each, and how deep training went; "" where there is nothing to say."""
    lines = findings(params, adaptation, evaluation)
    if adaptation.method != "linear_probe" and adaptation.training and adaptation.training.blocks:
        lines.append(f"{method_name(adaptation.method).capitalize()}: {depth_text(adaptation.training.blocks)}.")
    return "\n".join(f"- {escaped(line)}" for line in lines)


def confusion_markdown(report: EvaluationReport) -> str:
    """The confusion matrix, rows true and columns predicted; above 20 classes the 20 with the most errors."""
    shown = classes_with_most_errors(report, MOST_CLASSES)
    labels = [report.labels[index] for index in shown]
    rows = [[report.labels[row], *(count_text(report.confusion[row][column]) for column in shown)] for row in shown]
    table = markdown_table(["true \\ predicted", *labels], rows)
    if len(shown) == len(report.labels):
        return table
    note = f"The {len(shown)} of {len(report.labels)} classes with the most errors; all in reports/confusion.csv."
    return f"{table}\n\n{note}"


def verdict_markdown(verdict: Verdict) -> str:
    """The verdict: one sentence, the reasons of a refusal, every rule with value, limit and margin."""
    title = "## Passed the gate" if verdict.passed else "## Refused by the gate"
    reasons = "\n".join(f"- {escaped(reason)}" for reason in verdict.reasons[:MOST_REASONS])
    rows = [
        [row.name, row.value, row.limit, row.margin, row.judged_on, "holds" if row.passed else "broken"]
        for row in map(rule_row, verdict.rules)
    ]
    table = markdown_table(["rule", "value", "limit", "margin", "judged on", "result"], rows) if rows else ""
    return "\n\n".join(part for part in (title, headline(verdict), reasons, table) if part)


def champion_markdown(params: Params, evaluation: EvaluationReport, verdict: Verdict) -> str:
    """The comparison with the model in production, its outcome first; one line where nothing is in production."""
    view = champion_view(evaluation, verdict.champion, params.gate.champion)
    if view is None:
        return NOTHING_YET
    parts = [f"## {escaped(view.outcome)}", escaped(view.says), "\n".join(f"- {escaped(line)}" for line in view.more)]
    for duel in view.duels:
        counts, release = duel.counts, f"v{duel.version}"
        rows = [
            ["this model right", count_text(counts.both), count_text(counts.only_challenger)],
            ["this model wrong", count_text(counts.only_champion), count_text(counts.neither)],
        ]
        parts.append(f"### Against {escaped(duel.named)}")
        parts.append(markdown_table(["test items", f"{release} right", f"{release} wrong"], rows))
        figures = [[row.name, row.ours, row.theirs, row.gain, row.interval] for row in duel.figures]
        parts.append(markdown_table(["figure", "this model", release, "gained", "interval"], figures))
        parts.append(f"p-value of superiority (exact McNemar, one-sided): {duel.mcnemar}")
    return "\n\n".join(part for part in (*parts, view.level if view.duels else "") if part)


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A pipe table; cells are escaped, so a label may hold anything.

    >>> print(markdown_table(["a|b"], [["1"]]))
    | a\\|b |
    | --- |
    | 1 |
    """
    lines = [[escaped(cell) for cell in line] for line in (header, *rows)]
    lines.insert(1, ["---"] * len(header))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def escaped(text: str) -> str:
    """Text that markdown shows as it stands: no cell ends early, no tag, link or emphasis starts.

    >>> escaped("<b> a_b | c")
    '&lt;b&gt; a\\\\_b \\\\| c'
    """
    for mark in "\\`*_[]|":
        text = text.replace(mark, f"\\{mark}")
    plain = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return " ".join(plain.split())
