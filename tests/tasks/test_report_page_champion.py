"""The comparison with the model in production, on the page, in a run's artifacts and in the model card."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import page_sources
import pytest
from page_reader import HOSTILE, PageReader, assert_self_contained
from page_sources import Run, card_of

from tasks.champion_judgement import judge_champion
from tasks.paired_tests import accuracy_gain, mcnemar_p
from tasks.params.champion import Outcome
from tasks.plots.champion_view import HEADLINES, champion_view
from tasks.plots.markdown import champion_markdown
from tasks.plots.number_text import MINUS
from tasks.plots.page_rows import digests
from tasks.plots.report_page import write_report_page
from tasks.reports import PairedComparison, PairedCounts
from tasks.reports.comparison import Against

BETTER = PairedCounts(both=300, only_challenger=80, only_champion=5, neither=15)
WORSE = PairedCounts(both=300, only_challenger=5, only_champion=80, neither=15)
OPEN = PairedCounts(both=340, only_challenger=21, only_champion=24, neither=15)


def pair(counts: PairedCounts, against: Against = "champion", version: int = 12) -> PairedComparison:
    gain = accuracy_gain(counts, 0.95)
    return PairedComparison(
        against=against,
        version=version,
        manifest_sha256=page_sources.digest("release"),
        counts=counts,
        accuracy=(counts.both + counts.only_champion) / counts.items,
        macro_f1=0.871,
        gain=gain,
        macro_f1_gain=gain.model_copy(update={"value": gain.value + 0.001}),
        mcnemar_p=mcnemar_p(counts),
    )


def compared(*pairs: PairedComparison, use: int = 3) -> Run:
    """A run whose model was compared with these releases."""
    run = page_sources.run()
    champion = judge_champion(pairs, run.params.gate.champion, use, False)
    return replace(
        run,
        evaluation=run.evaluation.model_copy(update={"comparisons": list(pairs)}),
        verdict=run.verdict.model_copy(update={"champion": champion}),
    )


def section_of(run: Run, folder: Path) -> str:
    """The words of the section, and of nothing else."""
    workspace = run.write(folder)
    write_report_page(workspace, run.params)
    page = workspace.page.read_text("utf-8")
    assert_self_contained(page)
    text = PageReader(page).text
    return text[text.index("Champion and challenger") : text.index("neither training nor tuning")]


def test_with_nothing_in_production_one_plain_line_says_so(tmp_path: Path) -> None:
    words = "Champion and challenger Nothing is in production yet, so there is no champion to compare with. Scores"
    for run in (compared(), page_sources.run()):
        assert section_of(run, tmp_path).startswith(words)
        assert champion_markdown(run.params, run.evaluation, run.verdict).startswith("Nothing is in production yet")


def test_the_outcome_comes_first_then_who_is_right_and_what_is_gained(tmp_path: Path) -> None:
    run = compared(pair(BETTER))
    champion, gain = run.verdict.champion, run.evaluation.comparisons[0].gain
    assert champion is not None
    assert gain is not None
    text = section_of(run, tmp_path)
    assert text.startswith(
        "Champion and challenger Better This model is better than v12, which is in production; it may be promoted."
    )
    assert "v12 right v12 wrong This model right 300 80 This model wrong 5 15" in text
    assert f"Gained +{gain.value:.3f} +{gain.low:.3f} to +{gain.high:.3f}" in text
    assert "p-value of superiority: under 0.0001" in text
    assert "It is model 3 of 20 that this test set may judge; this decision is taken at a one-sided level of " in text
    assert f"{champion.alpha:.2g}" in text
    assert "more is lost than the margin of 0.01" in text


def test_the_best_version_so_far_has_a_table_of_its_own(tmp_path: Path) -> None:
    text = section_of(compared(pair(BETTER), pair(OPEN, "best", 9)), tmp_path)
    assert "Against v12, in production" in text
    assert "Against v9, best so far" in text
    assert "v9 right v9 wrong This model right 340 21 This model wrong 24 15" in text
    assert "it may not be promoted" in text


@pytest.mark.parametrize(("counts", "outcome"), [(BETTER, "better"), (WORSE, "worse"), (OPEN, "inconclusive")])
def test_every_outcome_has_its_sentence_and_its_reasons(tmp_path: Path, counts: PairedCounts, outcome: Outcome) -> None:
    run = compared(pair(counts))
    champion = run.verdict.champion
    assert champion is not None
    assert champion.outcome == outcome
    text = section_of(run, tmp_path)
    assert f"{outcome.capitalize()} {HEADLINES[outcome].format(version='v12')}" in text
    assert all(reason[1:] in text for reason in champion.reasons)


@pytest.mark.parametrize("outcome", ["incomparable", "unchanged"])
def test_where_nothing_was_measured_nothing_is_drawn(tmp_path: Path, outcome: Outcome) -> None:
    blank = PairedComparison(against="champion", version=12, manifest_sha256=page_sources.digest("release"))
    why = f"v12 does not know {HOSTILE[0]}"
    said = {"incomparable": why} if outcome == "incomparable" else {"unchanged": True}
    run = compared(blank.model_copy(update=said))
    text = section_of(run, tmp_path)
    assert HEADLINES[outcome].format(version="v12") in text
    assert (why in text) == (outcome == "incomparable")
    assert "v12 right" not in text
    assert "Accuracy gained" not in text
    assert "<script>" not in champion_markdown(run.params, run.evaluation, run.verdict)


def test_digests_of_what_was_not_judged_are_not_listed() -> None:
    run = compared(pair(BETTER))
    names = [name for name, _ in digests(run.verdict, run.adaptation)]
    assert not {"champion pin", "champion predictions", "test use"} & set(names)
    judged = run.verdict.digests.model_copy(update={"champion_pin": page_sources.digest("pin")})
    pinned = run.verdict.model_copy(update={"digests": judged})
    assert ("champion pin", page_sources.digest("pin")) in digests(pinned, run.adaptation)


def test_the_chart_says_in_words_what_it_draws() -> None:
    run = compared(pair(WORSE))
    view = champion_view(run.evaluation, run.verdict.champion, run.params.gate.champion)
    assert view is not None
    assert view.chart is not None
    gain = run.evaluation.comparisons[0].gain
    assert gain is not None
    assert f"over v12, in production {MINUS}{-gain.value:.3f}, " in view.chart.svg
    assert f"{MINUS}0.010 may be lost" in view.chart.svg


def test_the_artifact_says_what_the_page_says() -> None:
    run = compared(pair(BETTER), pair(OPEN, "best", 9))
    text = champion_markdown(run.params, run.evaluation, run.verdict)
    assert text.startswith("## Better\n\nThis model is better than v12")
    assert "| this model right | 300 | 80 |" in text
    assert "| this model wrong | 24 | 15 |" in text
    assert "It is model 3 of 20 that this test set may judge" in text


def test_the_card_names_the_model_that_was_in_production_then() -> None:
    run = compared(pair(BETTER))
    card = card_of(run)
    champion = run.verdict.champion
    assert champion is not None
    assert f"When v12 was in production: {champion.reasons[0]}." in card
    first = compared()
    card = card_of(first)
    assert "Nothing was in production when it was judged." in card
    assert "\n\n\n" not in card
