"""reports/report.html: the verdict and all it rests on as one self-contained page, for a desk and a phone.

Equal inputs give equal bytes. A picture is shown only while the raw file has the content that was judged.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from tasks.params import Minimum, Params
from tasks.plots import charts, confusion_map, number_text, page_rows
from tasks.plots.calibration_rows import calibration_view
from tasks.plots.champion_view import NOTHING_YET, champion_view
from tasks.plots.findings import baseline_name, findings, method_name, over_name
from tasks.plots.mistakes import Mistakes, read_mistakes
from tasks.plots.page import Pictures, render
from tasks.plots.thumbnails import Wanted, make_thumbnails
from tasks.plots.training_view import training_views
from tasks.reports import (
    AdaptationReport,
    BaselineScore,
    EvaluationReport,
    ReviewReport,
    SplitReport,
    ValidationReport,
    Verdict,
    write_bytes,
)
from tasks.reports.backbone import BackboneReport
from tasks.workspace import Workspace

OPEN_ROWS = 20
MOST_LISTED = 50


@dataclass(frozen=True)
class PageSources:
    """Everything the page shows."""

    params: Params
    validation: ValidationReport
    backbone: BackboneReport
    split: SplitReport
    adaptation: AdaptationReport
    evaluation: EvaluationReport
    verdict: Verdict
    mistakes: Mistakes
    pictures: Pictures
    review: ReviewReport | None


def write_report_page(workspace: Workspace, params: Params) -> None:
    """Write reports/report.html from the reports of the stages up to gate.

    Raises:
        StageInputError: a report or the predictions are missing or unreadable.
    """
    evaluation = EvaluationReport.read(workspace.evaluation)
    mistakes = read_mistakes(workspace.predictions, evaluation.labels)
    with ThreadPoolExecutor(1, "import") as loading:
        # matplotlib takes half a second to import; Pillow decodes meanwhile, outside the interpreter lock.
        loading.submit(import_module, "matplotlib.backends.backend_svg")
        pictures = _pictures(workspace, params, mistakes)
    sources = PageSources(
        params=params,
        validation=ValidationReport.read(workspace.validation),
        backbone=BackboneReport.read(workspace.backbone / "backbone.json"),
        split=SplitReport.read(workspace.split_report),
        adaptation=AdaptationReport.read(workspace.adapted / "adapted.json"),
        evaluation=evaluation,
        verdict=Verdict.read(workspace.verdict),
        mistakes=mistakes,
        pictures=pictures,
        review=ReviewReport.read(workspace.review_report) if workspace.review_report.exists() else None,
    )
    write_bytes(workspace.page, render_page(sources).encode())


def _pictures(workspace: Workspace, params: Params, mistakes: Mistakes) -> Pictures:
    if not params.report.thumbnails:
        return None
    wanted = [Wanted(mistake.path, mistake.sha256) for mistake in mistakes.shown]
    return make_thumbnails(workspace.data_root(params.data.path), wanted, params.validate_)


def render_page(sources: PageSources) -> str:
    """The page as text; labels, paths and reasons are escaped wherever they stand."""
    filters = {"limit": _limit, "over": over_name, "plain": _method_name}
    return render("report.html.j2", sources.pictures, _context(sources), filters)


def _context(sources: PageSources) -> dict[str, Any]:
    evaluation, params, validation = sources.evaluation, sources.params, sources.validation
    baselines = evaluation.baselines
    gate = params.gate
    accuracy = [("this model", evaluation.accuracy), *((baseline_name(b.name), b.accuracy) for b in baselines)]
    gains = [(f"over {over_name(b.name)}", b.gain) for b in baselines]
    macro_f1 = [("this model", evaluation.macro_f1), *((baseline_name(b.name), b.macro_f1) for b in baselines)]
    return {
        **vars(sources),
        "method": method_name(sources.adaptation.method),
        "headline": page_rows.headline(sources.verdict),
        "champion": champion_view(evaluation, sources.verdict.champion, gate.champion),
        "nothing_yet": NOTHING_YET,
        "findings": findings(params, sources.adaptation, evaluation),
        "rules": [page_rows.rule_row(rule) for rule in sources.verdict.rules],
        "confidence": f"{100 * evaluation.confidence:g}%",
        "accuracy": charts.score_forest("Accuracy", accuracy, gate.accuracy.minimum or None),
        "macro_f1": charts.score_forest("Macro-F1", macro_f1, gate.macro_f1.minimum or None),
        "limits_drawn": bool(gate.accuracy.minimum or gate.macro_f1.minimum),
        "gains": charts.gain_forest("Gain in accuracy, paired on the same items", gains) if gains else None,
        "best_baseline": best_baseline(baselines),
        "calibration": calibration_view(evaluation.calibration),
        "trainings": training_views(params, sources.adaptation),
        "classes": page_rows.classes_by_recall(evaluation),
        "confusion": confusion_map.confusion_map(evaluation),
        "pairs": confusion_map.confused_pairs(evaluation),
        "data_line": _data_line(sources),
        "sides": page_rows.used_sides(sources.split),
        "side_rows": page_rows.side_rows(validation, sources.split),
        "listings": page_rows.listings(validation, sources.split),
        "broken_checks": sum(not rule.passed for rule in validation.rules),
        "curves": charts.strength_curves(sources.adaptation.scores, sources.adaptation.strength),
        "settings": page_rows.settings(params),
        "digests": page_rows.digests(sources.verdict, sources.adaptation),
        "open_rows": OPEN_ROWS,
        "most_listed": MOST_LISTED,
    }


def _data_line(sources: PageSources) -> str:
    split = sources.split
    origin = "The split came with the data" if split.official else "Split by group and near-duplicate"
    tuning = "; tuned out of fold" if split.out_of_fold else ""
    return f"Layout: {sources.validation.layout}. {origin}{tuning}."


def best_baseline(baselines: list[BaselineScore]) -> BaselineScore | None:
    """The baseline that is hardest to beat, None where there is none."""
    return max(baselines, key=lambda baseline: baseline.accuracy.value, default=None)


def _method_name(method: str) -> str:
    """How an interval was made, with people's names written as such."""
    return method.replace("_", " ").replace("wilson", "Wilson").replace("newcombe", "Newcombe")


def _limit(least: Minimum) -> str:
    ends = " (for the lower end of the bar)" if least.judged_on == "lower_bound" else ""
    return f"{number_text.ratio_text(least.minimum)}{ends}"
