"""reports/report.html: the verdict and all it rests on as one self-contained page, for a desk and a phone.

Drawn as HTML and inline SVG from a Jinja2 template: no script, no font and no picture comes from elsewhere, and the
page's own Content-Security-Policy forbids it. Equal inputs give equal bytes.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.params import Minimum, Params
from tasks.plots import charts, confusion_map, number_text, page_rows
from tasks.plots.mistakes import Mistakes, read_mistakes
from tasks.reports import (
    AdaptationReport,
    BaselineScore,
    ClassScore,
    EvaluationReport,
    SplitReport,
    ValidationReport,
    Verdict,
    write_bytes,
)
from tasks.reports.backbone import BackboneReport
from tasks.workspace import Workspace

if TYPE_CHECKING:
    from jinja2 import Environment

OPEN_ROWS = 20
MOST_LISTED = 50
BASELINES = {"majority": "largest class", "raw_pixels": "raw pixels"}


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


def write_report_page(workspace: Workspace, params: Params) -> None:
    """Write reports/report.html from the reports of the stages up to gate.

    Raises:
        StageInputError: a report or the predictions are missing or unreadable.
    """
    evaluation = EvaluationReport.read(workspace.evaluation)
    sources = PageSources(
        params=params,
        validation=ValidationReport.read(workspace.validation),
        backbone=BackboneReport.read(workspace.backbone / "backbone.json"),
        split=SplitReport.read(workspace.split_report),
        adaptation=AdaptationReport.read(workspace.adapted / "adapted.json"),
        evaluation=evaluation,
        verdict=Verdict.read(workspace.verdict),
        mistakes=read_mistakes(workspace.predictions, evaluation.labels),
    )
    write_bytes(workspace.page, render_page(sources).encode())


def render_page(sources: PageSources) -> str:
    """The page as text; labels, paths and reasons are escaped wherever they stand."""
    from markupsafe import Markup

    style = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")
    style_hash = f"sha256-{b64encode(hashlib.sha256(style.encode()).digest()).decode()}"
    template = _environment().get_template("report.html.j2")
    return template.render(style=Markup(style), style_hash=style_hash, **_context(sources))


def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "ratio": number_text.ratio_text,
        "signed": number_text.signed_text,
        "count": number_text.count_text,
        "counted": number_text.counted_text,
        "limit": _limit,
        "strength": number_text.strength_text,
        "interval": number_text.interval_text,
        "signed_interval": number_text.signed_interval_text,
        "recall_interval": _recall_interval,
        "score": lambda score: f"{number_text.ratio_text(score.value)}, {number_text.interval_text(score)}",
        "gain": lambda gain: f"{number_text.signed_text(gain.value)}, {number_text.signed_interval_text(gain)}",
        "baseline": baseline_name,
        "breakable": _breakable,
        "plain": _method_name,
        "side": lambda side: side.replace("_", " ").capitalize(),
    }
    return environment


def _context(sources: PageSources) -> dict[str, Any]:
    evaluation, params, validation = sources.evaluation, sources.params, sources.validation
    baselines = evaluation.baselines
    gate = params.gate
    accuracy = [("this model", evaluation.accuracy), *((baseline_name(b.name), b.accuracy) for b in baselines)]
    gains = [(f"over {baseline_name(b.name)}", b.gain) for b in baselines]
    macro_f1 = [("this model", evaluation.macro_f1), *((baseline_name(b.name), b.macro_f1) for b in baselines)]
    return {
        **vars(sources),
        "method": sources.adaptation.method.replace("_", " "),
        "headline": page_rows.headline(sources.verdict),
        "rules": [page_rows.rule_row(rule) for rule in sources.verdict.rules],
        "confidence": f"{100 * evaluation.confidence:g}%",
        "accuracy": charts.score_forest(accuracy, gate.accuracy.minimum or None),
        "macro_f1": charts.score_forest(macro_f1, gate.macro_f1.minimum or None),
        "limits_drawn": bool(gate.accuracy.minimum or gate.macro_f1.minimum),
        "gains": charts.gain_forest(gains) if gains else None,
        "best_baseline": best_baseline(baselines),
        "classes": page_rows.classes_by_recall(evaluation),
        "confusion": confusion_map.confusion_map(evaluation),
        "pairs": confusion_map.confused_pairs(evaluation),
        "data_line": _data_line(sources),
        "sides": page_rows.used_sides(sources.split),
        "side_rows": page_rows.side_rows(validation, sources.split),
        "listings": page_rows.listings(validation, sources.split),
        "broken_checks": sum(not rule.passed for rule in validation.rules),
        "curves": charts.strength_curves(sources.adaptation.scores, sources.adaptation.strength),
        "curve_height": charts.CURVE_HEIGHT,
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


def baseline_name(name: str) -> str:
    """A baseline as the page calls it."""
    return BASELINES.get(name, name.replace("_", " "))


def _method_name(method: str) -> str:
    """How an interval was made, with people's names written as such."""
    return method.replace("_", " ").replace("wilson", "Wilson").replace("newcombe", "Newcombe")


def _limit(least: Minimum) -> str:
    ends = " (for the lower end of the bar)" if least.judged_on == "lower_bound" else ""
    return f"{number_text.ratio_text(least.minimum)}{ends}"


def _breakable(name: str) -> Any:
    """A key that may wrap after its dots and underscores, which a phone needs."""
    from markupsafe import Markup, escape

    return Markup(str(escape(name)).replace("_", "_<wbr>").replace(".", ".<wbr>"))


def _recall_interval(score: ClassScore) -> str:
    low, high = number_text.ratio_text(score.recall_low), number_text.ratio_text(score.recall_high)
    return f"{low}{number_text.EN_DASH}{high}"
