"""The page of a search over settings: order of the trials, the best one, and what each parameter did."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from page_reader import HOSTILE, PageReader, assert_self_contained

from tasks.plots.trial import Trial
from tasks.plots.tune_charts import best_trial, history_chart, parameter_charts
from tasks.plots.tune_page import best_first, searched_keys, trial_rows, trials_page

RATE, BLOCKS, FLIP = "adapt.method.learning_rate", "adapt.method.blocks", "adapt.method.horizontal_flip"


def trials(count: int = 12) -> list[Trial]:
    """Scores that rise and fall; every fourth trial is pruned, the last one failed."""
    made = [
        Trial(
            number=number,
            state="pruned" if number % 4 == 3 else "complete",
            score=0.8 + 0.1 * (1 - abs(number - count / 2) / count),
            params={RATE: 10.0 ** -(2 + number / 4), BLOCKS: [4, "all", 1][number % 3], FLIP: number % 2 == 0},
            epochs=3 if number % 4 == 3 else 12,
            seconds=1.5 + number,
        )
        for number in range(count)
    ]
    return [*made[:-1], replace(made[-1], state="failed", score=None, epochs=0, seconds=None)]


def test_the_best_trial_comes_first_and_pruned_ones_after_all_complete_ones() -> None:
    ordered = best_first(trials())
    assert ordered[0].number == 6
    states = [trial.state for trial in ordered]
    assert states == sorted(states, key=("complete", "pruned", "failed").index)
    complete = [trial.score or 0.0 for trial in ordered if trial.state == "complete"]
    assert complete == sorted(complete, reverse=True)


def test_a_pruned_trial_is_never_the_best_however_high_its_score() -> None:
    high = Trial(99, "pruned", 0.999, {RATE: 0.1})
    best = best_trial([*trials(), high])
    assert best
    assert best.number == 6
    assert best_trial([high]) is None


def test_of_equal_scores_the_earliest_trial_is_the_best() -> None:
    equal = [Trial(number, "complete", 0.9, {}) for number in (5, 2, 8)]
    best = best_trial(equal)
    assert best
    assert best.number == best_first(equal)[0].number == 2


def test_the_page_is_whole_names_the_best_trial_and_loads_nothing() -> None:
    page = trials_page(trials(), name="animals", about="Judged on 61 validation items.")
    reader = PageReader(page)
    assert_self_contained(page)
    assert "Trial 6 is the best: accuracy 0.900 Judged on 61 validation items." in reader.text
    assert "12 trials: 9 complete, 2 pruned, 1 failed." in reader.text
    assert "adapt. method. learning_ rate 0.000316" in reader.text
    assert len(page) < 60_000


def test_the_table_has_a_row_for_each_trial_and_a_column_for_each_parameter() -> None:
    rows = trial_rows([*trials(), Trial(12, "complete", 0.7, {"adapt.method.epochs": 6})])
    assert [row.number for row in rows][:1] == [6]
    assert [row.best for row in rows].count(True) == 1
    assert all(len(row.values) == 4 for row in rows)
    failed, other = rows[-1], next(row for row in rows if row.number == 12)
    assert (failed.score, failed.epochs, failed.seconds) == ("", "", "")
    assert other.values == ["", "", "", "6"]
    assert searched_keys(trials()) == [RATE, BLOCKS, FLIP]


def test_the_history_marks_the_best_so_far_and_what_was_pruned() -> None:
    chart = history_chart(trials(), "accuracy")
    assert chart
    marks = re.findall(r"<g><title>([^<]*)</title>(.*?)</g>", chart.svg)
    assert len(marks) == 11
    assert [title for title, mark in marks if 'fill="var(--ours)"' in mark] == ["trial 6, complete: 0.900"]
    assert {title.split(",")[0] for title, mark in marks if 'stroke="var(--other)"' in mark} == {"trial 3", "trial 7"}
    assert "the best is 0.900, of trial 6" in chart.svg
    steps = re.findall(r'd="([^"]*)" fill="none"[^>]*stroke-dasharray', chart.svg) or re.findall(
        r'<path[^>]*stroke-dasharray[^>]* d="([^"]*)"', chart.svg
    )
    down = [float(number) for number in re.findall(r"-?[\d.]+", steps[0])][1::2]
    assert down == sorted(down, reverse=True)


def test_a_parameter_that_never_changed_has_no_chart() -> None:
    same = [replace(trial, params={**trial.params, BLOCKS: 4}) for trial in trials()]
    assert [chart.title for chart in parameter_charts(trials(), "accuracy")] == [
        "learning_rate",
        "blocks",
        "horizontal_flip",
    ]
    assert [chart.title for chart in parameter_charts(same, "accuracy")] == ["learning_rate", "horizontal_flip"]


def test_numbers_stand_before_words_and_in_their_order() -> None:
    _, blocks, flip = parameter_charts(trials(), "accuracy")
    named = re.findall(r'text-anchor="middle"[^>]*>(\w+)</text>', blocks.svg)
    assert named == ["1", "4", "all"]
    assert sorted(re.findall(r'text-anchor="middle"[^>]*>(\w+)</text>', flip.svg)) == ["no", "yes"]
    assert "the best trial took 4" in blocks.svg


@pytest.mark.parametrize(
    "values",
    [
        [1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 0.1],
        list(range(1, 9)),
        [place / 10 for place in range(7)],
        [None, 3, "all"],
    ],
)
def test_every_kind_of_value_can_be_drawn(values: list[Any]) -> None:
    made = [Trial(number, "complete", 0.5 + number / 20, {"x": value}) for number, value in enumerate(values)]
    (chart,) = parameter_charts(made, "accuracy")
    assert len(re.findall("<title>trial ", chart.svg)) == len(values)
    assert chart.svg.count('text-anchor="middle"') >= 2


def test_a_search_without_a_complete_trial_says_so() -> None:
    assert "No trial has begun yet" in PageReader(trials_page([])).text
    failed = PageReader(trials_page([Trial(0, "failed", None, {RATE: 0.1})]))
    assert "No trial is complete yet" in failed.text
    assert not failed.named("section", id="progress")
    one = PageReader(trials_page([Trial(0, "complete", 0.5, {RATE: 0.1})]))
    assert one.named("section", id="progress")
    assert not one.named("section", id="searched")


def test_names_and_values_are_shown_and_never_run() -> None:
    made = [Trial(place, "complete", 0.5, {name: name}) for place, name in enumerate(HOSTILE)]
    page = trials_page(made, name=HOSTILE[0], about=HOSTILE[1], score_name=HOSTILE[2])
    assert_self_contained(page)
    assert HOSTILE[0] in PageReader(page).text


def test_later_trials_are_folded_away_and_still_on_the_page() -> None:
    page = PageReader(trials_page(trials(60)))
    assert "The other 40 trials" in page.text
    assert len(page.named("tr")) == 3 + 60 + 3
